"""What can still be read of a damaged typed B-tree comes into a new one, and the rest is told."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vasmem

Url = Callable[[str], str]

IDS = {number * 7_919 + (1 << 40): number * 0.5 for number in range(20_000)}
TYPES: dict[str, Any] = {"key": [("a", "i2"), ("b", "S9")], "value": "S100"}
NAMED = {(number - 450, b"%09d" % number): b"%100d" % number for number in range(900)}


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    """File of a segment with two typed trees."""
    with vasmem.create(url("old"), max_size="64M") as segment:
        ids = segment.btree("ids", key="u8", value="f8")
        ids.put_many(np.array(list(IDS), "u8"), np.array(list(IDS.values()), "f8"))
        segment.btree("named", **TYPES).update(NAMED)
    yield home / "old"
    vasmem.remove(url("old"))


def salvaged(url: Url) -> tuple[dict[str, vasmem.SalvagedStructure], dict[str, dict[Any, Any]]]:
    """What is told of each tree, and what the new segment holds."""
    report = vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        found = {name: dict(segment[name].items()) for name in segment}
        assert segment.check() == []
    vasmem.remove(url("new"))
    return {row.name: row for row in report.structures}, found


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    with path.open("r+b") as file:
        file.seek(content.index(old))
        file.write(new)


def test_sound_trees_come_as_they_are(old: Path, url: Url) -> None:  # noqa: ARG001
    rows, found = salvaged(url)
    assert found == {"ids": IDS, "named": NAMED}
    assert {row.kind for row in rows.values()} == {"btree typed"}
    assert not any(row.lost for row in rows.values())


def test_a_key_out_of_order_is_lost_alone(old: Path, url: Url) -> None:
    key = list(IDS)[777]
    entry = struct.pack("<Qd", key, IDS[key])
    replace(old, entry, struct.pack("<Qd", 5, IDS[key]))
    rows, found = salvaged(url)
    assert found["ids"] == {other: value for other, value in IDS.items() if other != key}
    assert rows["ids"].lost
    assert found["named"] == NAMED


def test_a_tree_whose_types_are_damaged_is_lost(old: Path, url: Url) -> None:
    text = repr(("<u8", "<f8")).encode()
    length = struct.pack("<Q", len(text))
    replace(old, length + text, struct.pack("<Q", 1 << 40) + text)
    rows, found = salvaged(url)
    assert found["named"] == NAMED
    assert rows["ids"].lost
    assert "ids" not in found
