"""What can still be read of a damaged typed hash map comes into a new one, and the rest is told."""

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vasmem

Url = Callable[[str], str]

BOOT, MARK, HEAP, GRANULE = 384, 640, 16 << 20, 1 << 14
DIRECTORY, MAP_RECORD, MAP_UNIQUE, MAP_COUNT = 8, 10, 14, 11
# What a key and its value are in the segment's bytes, here both of 8 bytes.
NODE, ENTRY = 128, 16
IDS = {number * 7_919 + (1 << 40): number * 0.5 for number in range(20_000)}
TYPES: dict[str, Any] = {"key": [("a", "u2"), ("b", "S9")], "value": "S3"}
NAMED = {(number % 999, b"%09d" % number): b"%03d" % (number % 1000) for number in range(900)}


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    """File of a segment with three typed maps, and one that is none."""
    with vasmem.create(url("old"), max_size="64M") as segment:
        ids = segment.hashmap("ids", key="u8", value="f8")
        ids.put_many(np.array(list(IDS), "u8"), np.array(list(IDS.values()), "f8"))
        segment.hashmap("named", **TYPES).update(NAMED)
        segment.hashmap("none", key="i2", value="V5")
        segment.hashmap("plain")["key"] = "value"
        assert segment.check() == []
    yield home / "old"
    vasmem.remove(url("old"))


def salvaged(url: Url) -> tuple[dict[str, vasmem.SalvagedStructure], dict[str, dict[Any, Any]]]:
    """What is told of each map, and what the new segment holds."""
    report = vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        found = {name: dict(segment[name].items()) for name in segment}
        assert segment.check() == []
    vasmem.remove(url("new"))
    assert report.lost == sum(row.lost for row in report.structures)
    assert {row.name: row.copied for row in report.structures} == {
        row.name: len(found.get(row.name, {})) for row in report.structures
    }
    return {row.name: row for row in report.structures}, found


def write(path: Path, at: int, word: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(word)


def packed(key: int) -> bytes:
    """The entry of a key of `ids`."""
    return struct.pack("<Qd", key, IDS[key])


def single(path: Path, count: int) -> dict[int, int]:
    """So many keys of `ids` of which no table that was split has a copy, and where they stand."""
    content = path.read_bytes()[HEAP:]
    found = ((key, content.index(packed(key))) for key in IDS if content.count(packed(key)) == 1)
    return {key: HEAP + at for key, at in islice(found, count)}


def test_all_of_it(url: Url, old: Path) -> None:
    write(old, BOOT, b"another boot")
    write(old, MARK, b"\3")
    rows, found = salvaged(url)
    assert found == {"ids": IDS, "named": NAMED, "none": {}, "plain": {"key": "value"}}
    assert {name: (row.kind, row.lost) for name, row in rows.items()} == {
        "ids": ("hashmap typed", 0),
        "named": ("hashmap typed", 0),
        "none": ("hashmap typed", 0),
        "plain": ("hashmap", 0),
    }


def test_the_new_map_has_the_same_types(url: Url, old: Path) -> None:
    assert old.exists()
    vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        named = segment.hashmap("named", **TYPES)
        assert (named.key_dtype, named.value_dtype) == (np.dtype(TYPES["key"]), np.dtype("S3"))
        named[5, b"new"] = b"abc"
        assert segment["none"].value_dtype == np.dtype("V5")
    vasmem.remove(url("new"))


def test_damaged_keys_are_told_and_not_invented(url: Url, old: Path) -> None:
    """A key that is none of this place is left out; few of a hundred can be taken for one."""
    damaged = single(old, 100)
    for number, at in enumerate(damaged.values()):
        write(old, at, struct.pack("<Q", number))
    rows, found = salvaged(url)
    kept = {key: value for key, value in IDS.items() if key not in damaged}
    others = {key: value for key, value in found["ids"].items() if key not in kept}
    assert found["ids"] == kept | others
    assert len(others) <= 5
    lost = len(damaged) - len(others)
    assert rows["ids"].lost == lost + 1
    numbers = [number for number, _, _ in rows["ids"].reasons]
    assert set(numbers) == {MAP_RECORD, MAP_COUNT}
    assert f"{len(IDS)} keys, {len(IDS) - lost} were copied" in rows["ids"].reasons[-1][2]


def test_a_key_that_stands_twice(url: Url, old: Path) -> None:
    """An entry is copied over its neighbour in the same node."""
    ((key, at),) = single(old, 1).items()
    first = at // NODE * NODE + 16
    other = first if at != first else at + ENTRY
    with old.open("rb") as file:
        file.seek(other)
        (gone,) = struct.unpack("<Q", file.read(8))
    assert gone in IDS
    write(old, other, struct.pack("<Qd", key, -1.0))
    rows, found = salvaged(url)
    assert gone not in found["ids"]
    assert found["ids"][key] in (IDS[key], -1.0)
    assert [number for number, _, _ in rows["ids"].reasons] == [MAP_UNIQUE, MAP_COUNT]


def test_zeros_must_fill_a_key(url: Url, old: Path) -> None:
    content = old.read_bytes()
    entries = {key: np.array([key], TYPES["key"]).tobytes() for key in NAMED}
    key = next(key for key in NAMED if content.count(entries[key]) == 1)
    write(old, content.index(entries[key]) + len(entries[key]), b"\1")
    rows, found = salvaged(url)
    assert found["named"] == {other: value for other, value in NAMED.items() if other != key}
    assert [number for number, _, _ in rows["named"].reasons] == [MAP_RECORD, MAP_COUNT]


def test_bits_of_entries_that_there_are_not(url: Url, old: Path) -> None:
    (at,) = single(old, 1).values()
    at = at // NODE * NODE
    with old.open("rb") as file:
        file.seek(at + 8)
        used = int.from_bytes(file.read(8), "little")
    write(old, at + 8, (used | 1 << 40).to_bytes(8, "little"))
    rows, found = salvaged(url)
    assert found["ids"] == IDS
    assert [number for number, _, _ in rows["ids"].reasons] == [MAP_RECORD]


@pytest.mark.parametrize("torn", [NODE, 512, 4096, GRANULE])
def test_zeros_where_a_table_was(url: Url, old: Path, torn: int) -> None:
    """Pages that never came to the disk."""
    (at,) = single(old, 1).values()
    at = at // torn * torn
    before = old.read_bytes()[at : at + torn]
    write(old, at, bytes(torn))
    rows, found = salvaged(url)
    assert found["ids"].items() <= IDS.items()
    gone = [key for key in IDS if key not in found["ids"]]
    assert 0 < len(gone) <= torn // ENTRY
    assert all(packed(key) in before for key in gone)
    assert MAP_COUNT in [number for number, _, _ in rows["ids"].reasons]
    assert found["named"] == NAMED


@pytest.mark.parametrize("word", [0, 1, (8 << 32) | 16, 1 << 63])
def test_a_broken_header_costs_its_map_alone(url: Url, old: Path, word: int) -> None:
    """The sizes of keys and values stand in the header's last word."""
    form = struct.pack("<Q", 8 | 8 << 32)
    content = old.read_bytes()
    places = [at for at in range(HEAP + 56, len(content), 64) if content[at : at + 8] == form]
    assert len(places) == 1
    write(old, places[0], word.to_bytes(8, "little"))
    report = vasmem.salvage(url("old"), url("new"))
    (ids,) = [row for row in report.structures if row.name == "ids"]
    assert ids.lost > 0
    with vasmem.attach(url("new")) as segment:
        assert dict(segment["named"].items()) == NAMED
        assert segment.check() == []
    vasmem.remove(url("new"))


def test_damaged_types_cost_their_map_alone(url: Url, old: Path) -> None:
    content = old.read_bytes()
    description = b"('<u8', '<f8')"
    assert content.count(description) == 1
    write(old, content.index(description), b"('<f8', '<u8')")
    rows, found = salvaged(url)
    assert "ids" not in found
    ((number, _, text),) = rows["ids"].reasons
    assert (number, text) == (DIRECTORY, 'the types of hash map "ids" are damaged')
    assert (rows["ids"].copied, rows["ids"].lost, rows["plain"].lost) == (0, 1, 0)
