"""Segments that somebody has tampered with, before they are attached and while they are in use: the
public interface raises errors of its own, and neither dies nor hangs."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

Url = Callable[[str], str]

SEEDS = 12
# Only stops what hangs.
HANGS_AFTER_S = 120

USE = """
import sys
import vasmem

url, rounds = sys.argv[1], int(sys.argv[2])

def transaction(segment, users):
    with segment.transaction():
        for number in range(20):
            users[number] = {"n": number}

def use(segment):
    users = segment.hashmap("users")
    tree = segment.btree("tree")
    operations = [
        lambda: users.get(3),
        lambda: users[5],
        lambda: 7 in users,
        lambda: users.get("large"),
        lambda: len(users),
        lambda: users.__setitem__(9, "y" * 90),
        lambda: users.__setitem__("large", b"z" * 30_000),
        lambda: users.__delitem__(11),
        lambda: sum(1 for _ in zip(users.items(), range(500))),
        lambda: users.get_many(range(100)),
        lambda: transaction(segment, users),
        lambda: tree[5],
        lambda: tree.__setitem__(9, "y" * 90),
        lambda: tree.pop(11, None),
        lambda: sum(1 for _ in zip(tree.items(), range(500))),
        lambda: sum(1 for _ in zip(tree.values().irange(reverse=True), range(500))),
        lambda: tree.update({number: number for number in range(100, 300)}),
        lambda: tree.keys()[50:60],
        lambda: transaction(segment, tree),
        lambda: list(segment),
        segment.check,
        segment.info,
    ]
    for _ in range(rounds):
        for operation in operations:
            try:
                operation()
            except (vasmem.VasmemError, KeyError):
                pass

for readonly in (True, False):
    try:
        with vasmem.attach(url, readonly=readonly) as segment:
            segment.timeout = 0.05
            use(segment)
    except (vasmem.VasmemError, KeyError):
        pass
print("went on")
"""


def fill(url: str) -> None:
    with vasmem.create(url, size="1M", max_size="4M") as segment:
        users = segment.hashmap("users")
        for number in range(400):
            users[number] = {"name": "x" * (number % 90), "tags": [number, None, 1.5]}
        users["large"] = b"w" * 20_000
        segment.btree("tree").update(users.items())


def places(content: bytes) -> list[int]:
    """Words that hold something: a random one of all would seldom be one that counts."""
    return [at for at in range(0, len(content), 8) if content[at : at + 8] != bytes(8)]


def tamper(path: Path, content: bytes, words: list[int], chance: random.Random) -> None:
    """Write some words anew: bits flipped, other words of the segment, numbers at the limits."""
    with path.open("r+b") as file:
        for _ in range(chance.randint(1, 12)):
            at, other = chance.choice(words), chance.choice(words)
            old = int.from_bytes(content[at : at + 8], "little")
            new = chance.choice(
                [
                    old ^ 1 << chance.randrange(64),
                    int.from_bytes(content[other : other + 8], "little"),
                    chance.choice([0, 1, 63, 2**64 - 1, 2**47, 2**32, old + 8, old - 64]),
                ]
            )
            file.seek(at)
            file.write((new % 2**64).to_bytes(8, "little"))


def use(url: str, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USE, url, str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(child: subprocess.Popen[str], seed: int) -> None:
    try:
        out, err = child.communicate(timeout=HANGS_AFTER_S)
    finally:
        child.kill()
    died = signal.Signals(-child.returncode).name if child.returncode < 0 else ""
    assert (child.returncode, out) == (0, "went on\n"), f"seed {seed} {died}: {err}"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_segment_that_was_tampered_with_raises_only(url: Url, home: Path, seed: int) -> None:
    fill(url("test"))
    path, chance = home / "test", random.Random(seed)
    content = path.read_bytes()
    tamper(path, content, places(content), chance)
    end(use(url("test"), 1), seed)
    vasmem.remove(url("test"))


@pytest.mark.parametrize("seed", range(3))
def test_a_segment_that_is_scribbled_on_raises_only(url: Url, home: Path, seed: int) -> None:
    """What is checked may change before it is used."""
    fill(url("test"))
    path, chance = home / "test", random.Random(seed)
    content = path.read_bytes()
    words = [at for at in places(content) if at >= 256]
    child = use(url("test"), 20)
    for _ in range(100_000):
        if child.poll() is not None:
            break
        tamper(path, content, words, chance)
    end(child, seed)
    vasmem.remove(url("test"))
