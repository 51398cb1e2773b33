"""Salvage of segments in which words were written anew: it ends, raises errors of its own at most,
and brings nothing that was never stored."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_hostile import HANGS_AFTER_S, places, tamper

import vasmem
from vasmem import _core

Url = Callable[[str], str]

ENCODED = {number: {"name": "x" * (number % 90), "n": number} for number in range(400)}
LARGE = {f"large {number}": b"%d" % number * 4_000 for number in range(8)}
RAW = {b"%d" % number: b"%d" % number * 30 for number in range(400)}
IDS = {number * 1_000_003: number / 7 for number in range(400)}
STORED = {"users": ENCODED, "large": LARGE, "raw": RAW, "tree": ENCODED, "ids": IDS}
# Keys of all maps, as a raw map shows those of the others.
KEYS = {*ENCODED, *LARGE, *RAW, *map(_core.encode_key, [*ENCODED, *LARGE])}
BOOT = 384


def fill(url: str) -> None:
    with vasmem.create(url, size="1M", max_size="4M") as segment:
        segment.hashmap("users").update(ENCODED)
        segment.hashmap("large").update(LARGE)
        segment.hashmap("raw", raw=True).update(RAW)
        segment.btree("tree").update(ENCODED)
        segment.hashmap("ids", key="u8", value="f8").update(IDS)


def check(url: str, words: int) -> int:
    """How many entries were saved. A word that was written anew changes one value at most, or puts
    one entry, which is found by the place of its bucket, into another map. Less tells the key of a
    typed map, which may be what was written."""
    vasmem.salvage(url, f"{url}-new")
    count = changed = 0
    with vasmem.attach(f"{url}-new") as segment:
        assert segment.check() == []
        for name in segment:
            for key, value in items(segment, name):
                count += 1
                changed += key not in STORED[name] or STORED[name][key] != value
                assert key in KEYS or name == "ids"
    vasmem.remove(f"{url}-new")
    assert changed <= words, f"{changed} entries are others"
    return count


def items(segment: vasmem.Segment, name: str) -> Iterator[tuple[object, object]]:
    """Of a typed map none, if what describes its types was written anew."""
    try:
        found = segment[name]
    except vasmem.SegmentCorrupted:
        assert name == "ids"
        return iter(())
    return iter(found.items())


def salvage_many(url: str, path: Path, seeds: range) -> None:
    """Print the entries that were saved of each."""
    content = path.read_bytes()
    known = places(content)
    for seed in seeds:
        chance = random.Random(seed)
        tamper(path, content, known, chance)
        if seed % 3 == 0:
            with path.open("r+b") as file:
                file.seek(BOOT)
                file.write(b"another boot")
        damaged = path.read_bytes()
        words = sum(damaged[at : at + 8] != content[at : at + 8] for at in known)
        try:
            saved = check(url, words)
        except (vasmem.SegmentCorrupted, vasmem.FormatMismatch):
            saved = 0
        print(seed, saved, flush=True)
        with path.open("r+b") as file:
            for at in known:
                if damaged[at : at + 8] != content[at : at + 8]:
                    file.seek(at)
                    file.write(content[at : at + 8])


@pytest.mark.parametrize("first", [0, 100, 200])
def test_what_is_salvaged_was_stored(url: Url, home: Path, first: int) -> None:
    fill(url("test"))
    command = [sys.executable, __file__, url("test"), str(home / "test"), str(first)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=HANGS_AFTER_S
    )
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr}"
    saved = [int(line.split()[1]) for line in done.stdout.splitlines()]
    entries = sum(map(len, STORED.values()))
    assert len(saved) == 100
    assert max(saved) == entries
    assert sum(saved) > 80 * entries
    vasmem.remove(url("test"))


if __name__ == "__main__":
    first = int(sys.argv[3])
    salvage_many(sys.argv[1], Path(sys.argv[2]), range(first, first + 100))
