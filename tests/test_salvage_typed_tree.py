"""What can still be read of a damaged typed B-tree comes into a new one, and the rest is told."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vasmem

Url = Callable[[str], str]

BOOT, MARK, HEAP, NODE = 384, 640, 16 << 20, 1024
DIRECTORY, MAP_COUNT, TREE_ORDER = 8, 11, 16
IDS = {number * 7_919 + (1 << 40): number * 0.5 for number in range(5_000)}
TYPES: dict[str, Any] = {"key": [("a", "u2"), ("b", "S9")], "value": "S3"}
NAMED = {(number % 999, b"%09d" % number): b"%03d" % (number % 1000) for number in range(900)}


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    """File of a segment with three typed trees, and one that is none."""
    with vasmem.create(url("old"), max_size="64M") as segment:
        segment.btree("ids", key="u8", value="f8").update(IDS)
        segment.btree("named", **TYPES).update(NAMED)
        segment.btree("none", key="i2", value="V5")
        segment.btree("plain")["key"] = "value"
        assert segment.check() == []
    yield home / "old"
    vasmem.remove(url("old"))


def salvaged(url: Url) -> tuple[dict[str, vasmem.SalvagedStructure], dict[str, list[Any]]]:
    """What is told of each tree, and what the new segment holds."""
    report = vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        found = {name: list(segment[name].items()) for name in segment}
        assert segment.check() == []
    vasmem.remove(url("new"))
    assert report.lost == sum(row.lost for row in report.structures)
    assert {row.name: row.copied for row in report.structures} == {
        row.name: len(found.get(row.name, [])) for row in report.structures
    }
    return {row.name: row for row in report.structures}, found


def write(path: Path, at: int, word: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(word)


def packed(key: int) -> bytes:
    """The entry of a key of `ids`: the key as a word that compares as its bytes do."""
    return struct.pack("<Qd", key, IDS[key])


def place(path: Path, key: int) -> int:
    """Where a key of `ids` stands."""
    content = path.read_bytes()
    assert content.count(packed(key)) == 1
    return content.index(packed(key))


def test_all_of_it(url: Url, old: Path) -> None:
    write(old, BOOT, b"another boot")
    write(old, MARK, b"\3")
    rows, found = salvaged(url)
    assert found == {
        "ids": list(IDS.items()),
        "named": sorted(NAMED.items()),
        "none": [],
        "plain": [("key", "value")],
    }
    assert {name: (row.kind, row.lost) for name, row in rows.items()} == {
        "ids": ("btree typed", 0),
        "named": ("btree typed", 0),
        "none": ("btree typed", 0),
        "plain": ("btree", 0),
    }


def test_the_new_tree_has_the_same_types(url: Url, old: Path) -> None:
    assert old.exists()
    vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        named = segment.btree("named", **TYPES)
        assert (named.key_dtype, named.value_dtype) == (np.dtype(TYPES["key"]), np.dtype("S3"))
        named[5, b"new"] = b"abc"
        assert segment["none"].value_dtype == np.dtype("V5")
    vasmem.remove(url("new"))


@pytest.mark.parametrize("key", [0, (1 << 64) - 1])
def test_a_damaged_key_is_told_and_not_invented(url: Url, old: Path, key: int) -> None:
    damaged = list(IDS)[2_345]
    write(old, place(old, damaged), struct.pack("<Q", key))
    rows, found = salvaged(url)
    assert found["ids"] == [item for item in IDS.items() if item[0] != damaged]
    assert [number for number, _, _ in rows["ids"].reasons] == [TREE_ORDER, MAP_COUNT]
    assert rows["ids"].lost == 2


def test_zeros_must_fill_a_key(url: Url, old: Path) -> None:
    """A key of eleven bytes takes two words."""
    key = max(NAMED)
    first = struct.pack(">H", key[0]) + key[1]
    words = first[:8][::-1] + first[8:].ljust(8, b"\0")[::-1]
    content = old.read_bytes()
    assert content.count(words) == 1
    write(old, content.index(words) + 8, b"\1")
    rows, found = salvaged(url)
    assert found["named"] == sorted(NAMED.items())[:-1]
    assert [number for number, _, _ in rows["named"].reasons] == [TREE_ORDER, MAP_COUNT]


def test_a_lost_leaf_costs_its_keys_alone(url: Url, old: Path) -> None:
    at = place(old, list(IDS)[2_345]) // NODE * NODE
    before = old.read_bytes()[at : at + NODE]
    write(old, at, bytes(NODE))
    rows, found = salvaged(url)
    gone = sorted(IDS.items() - dict(found["ids"]).items())
    assert 0 < len(gone) <= NODE // 16
    assert all(packed(key) in before for key, _ in gone)
    assert [number for number, _, _ in rows["ids"].reasons] == [MAP_COUNT]
    assert found["named"] == sorted(NAMED.items())


@pytest.mark.parametrize("word", [0, 1 << 32, (8 << 32) | 16, 1 << 63])
def test_a_broken_header_costs_its_tree_alone(url: Url, old: Path, word: int) -> None:
    """The sizes of keys and values stand in the word behind the block of the description."""
    form = struct.pack("<Q", 8 | 8 << 32)
    content = old.read_bytes()
    places = [at for at in range(HEAP + 40, len(content), 64) if content[at : at + 8] == form]
    assert len(places) == 1
    write(old, places[0], word.to_bytes(8, "little"))
    rows, found = salvaged(url)
    assert rows["ids"].lost > 0
    assert found["named"] == sorted(NAMED.items())


def test_damaged_types_cost_their_tree_alone(url: Url, old: Path) -> None:
    content = old.read_bytes()
    description = b"('<u8', '<f8')"
    assert content.count(description) == 1
    write(old, content.index(description), b"('<f8', '<u8')")
    rows, found = salvaged(url)
    assert "ids" not in found
    ((number, _, text),) = rows["ids"].reasons
    assert (number, text) == (DIRECTORY, 'the types of B-tree "ids" are damaged')
    assert (rows["ids"].copied, rows["ids"].lost, rows["plain"].lost) == (0, 1, 0)


def test_a_broken_length_of_the_description_costs_its_tree_alone(url: Url, old: Path) -> None:
    content = old.read_bytes()
    text = b"('<u8', '<f8')"
    length = struct.pack("<Q", len(text))
    assert content.count(length + text) == 1
    write(old, content.index(length + text), struct.pack("<Q", 1 << 40))
    rows, found = salvaged(url)
    assert "ids" not in found
    assert rows["ids"].lost > 0
    assert found["named"] == sorted(NAMED.items())
