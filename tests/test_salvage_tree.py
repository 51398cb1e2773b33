"""What can still be read of a damaged B-tree comes into a new one, and the rest is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vasmem
from vasmem import _core

Url = Callable[[str], str]

BOOT, MARK, HEAP, NODE = 384, 640, 16 << 20, 1024
REACHABLE, MAP_RECORD, MAP_COUNT, TREE_NODE = 5, 10, 11, 15
KEYS = {f"key {number:06}": [number, "x" * (number % 90)] for number in range(5_000)}
BLOBS = {b"%d" % number: bytes(5_000 << number % 5) for number in range(30)}


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    """File of a segment with three trees."""
    with vasmem.create(url("old"), max_size="64M") as segment:
        segment.btree("tree").update(KEYS)
        segment.btree("blobs", raw=True).update(BLOBS)
        segment.btree("none")
        assert segment.check() == []
    yield home / "old"
    vasmem.remove(url("old"))


def salvaged(url: Url) -> tuple[dict[str, vasmem.SalvagedStructure], dict[str, list]]:
    """What is told of each tree, and what the new segment holds."""
    report = vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        found = {name: list(segment[name].items()) for name in segment}
        assert all(type(segment[name]) is vasmem.BTree for name in segment)
        assert segment.check() == []
    vasmem.remove(url("new"))
    assert report.lost == sum(row.lost for row in report.structures)
    return {row.name: row for row in report.structures}, found


def write(path: Path, at: int, word: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(word.to_bytes(8, "little"))


def places(path: Path, key: str) -> tuple[int, int]:
    """Offset of a key's record, and of the word of its leaf that leads there."""
    encoded = _core.encode_key(key)
    content = path.read_bytes()
    head = len(encoded).to_bytes(4, "little")
    record = next(
        at
        for at in range(HEAP, len(content), 16)
        if content[at : at + 4] == head and content[at + 8 : at + 8 + len(encoded)] == encoded
    )
    word = content.find(record.to_bytes(6, "little"), HEAP)
    while word % 8:
        word = content.find(record.to_bytes(6, "little"), word + 1)
    return record, word


def test_all_of_it(url: Url, old: Path) -> None:
    write(old, BOOT, 1)
    write(old, MARK, 3)
    rows, found = salvaged(url)
    assert found == {"tree": list(KEYS.items()), "blobs": sorted(BLOBS.items()), "none": []}
    assert {name: (row.kind, row.lost) for name, row in rows.items()} == {
        "tree": ("btree", 0),
        "blobs": ("btree raw", 0),
        "none": ("btree", 0),
    }


def test_a_damaged_record_loses_its_key(url: Url, old: Path) -> None:
    record, _ = places(old, "key 002345")
    write(old, record + 8, 0)
    rows, found = salvaged(url)
    assert found["tree"] == [item for item in KEYS.items() if item[0] != "key 002345"]
    assert [number for number, _, _ in rows["tree"].reasons] == [MAP_RECORD, MAP_COUNT]


def test_a_leaf_that_is_lost_takes_its_keys(url: Url, old: Path) -> None:
    _, word = places(old, "key 002345")
    write(old, word // NODE * NODE + 8, 0xFFFF)
    rows, found = salvaged(url)
    lost = set(KEYS) - {key for key, _ in found["tree"]}
    assert "key 002345" in lost
    assert len(lost) <= 58
    assert found["tree"] == [item for item in KEYS.items() if item[0] not in lost]
    assert [number for number, _, _ in rows["tree"].reasons] == [TREE_NODE, MAP_COUNT]
    assert found["blobs"] == sorted(BLOBS.items())


def test_two_entries_with_one_record(url: Url, old: Path) -> None:
    _, one = places(old, "key 000010")
    record, _ = places(old, "key 000011")
    with old.open("rb") as file:
        file.seek(one)
        word = int.from_bytes(file.read(8), "little")
    write(old, one, word >> 48 << 48 | record)
    rows, found = salvaged(url)
    assert "key 000010" not in dict(found["tree"])
    assert dict(found["tree"])["key 000011"] == KEYS["key 000011"]
    assert rows["tree"].lost == 2
