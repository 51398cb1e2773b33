"""Arrays of a damaged segment come into a new one, or it is told why not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vasmem

Url = Callable[[str], str]
HEAP = 16 << 20
ARRAY = 17
# Words of an array's header.
DATA, CAPACITY, LENGTH, ROW_BYTES = 2, 3, 4, 5


def fill(url: str) -> None:
    with vasmem.create(url, max_size="64M") as segment:
        segment.array("prices", (200_000, 2), "f4")[:] = np.arange(400_000).reshape(-1, 2)
        segment.array("records", 7, [("a", "u1"), ("b", "S3")])["b"] = b"abc"
        segment.array("empty", 0, "f8")
        segment.hashmap("map")["key"] = "value"


def header(path: Path, length: int) -> int:
    """Where the header of the array with so many rows stands."""
    words = np.fromfile(path, "<u8")
    places = np.flatnonzero(words == length)
    good = [at - LENGTH for at in places if at > HEAP // 8 and words[at - 1] >= length]
    good = [at for at in good if 1 <= words[at + ROW_BYTES] <= 8 and words[at + DATA] % 64 == 0]
    assert len(good) == 1
    return good[0] * 8


def test_all_of_a_sound_segment(url: Url) -> None:
    fill(url("old"))
    report = vasmem.salvage(url("old"), url("new"))
    assert {row.name: row.copied for row in report.structures} == {
        "prices": 200_000,
        "records": 7,
        "empty": 0,
        "map": 1,
    }
    assert report.lost == 0
    with vasmem.attach(url("old")) as old, vasmem.attach(url("new")) as new:
        for name in ("prices", "records", "empty"):
            before, after = old.array(name), new.array(name)
            assert (before.shape, before.dtype) == (after.shape, after.dtype)
            assert np.array_equal(before.read(), after.read())
        assert new.check() == []
    vasmem.remove(url("old"))
    vasmem.remove(url("new"))


@pytest.mark.parametrize("field", [DATA, CAPACITY, LENGTH, ROW_BYTES])
@pytest.mark.parametrize("word", [0, 1, 1 << 63, 123_456_789_012])
def test_a_broken_header_costs_its_array_alone(url: Url, home: Path, field: int, word: int) -> None:
    fill(url("old"))
    path = home / "old"
    with path.open("r+b") as file:
        file.seek(header(path, 200_000) + field * 8)
        file.write(word.to_bytes(8, "little"))
    with vasmem.attach(url("old")) as segment:
        try:
            segment.array("prices").read()
        except vasmem.SegmentCorrupted:
            assert segment.check() or field == ROW_BYTES
    report = vasmem.salvage(url("old"), url("new"))
    lost = {row.name: row.lost for row in report.structures}
    # Fewer rows, or smaller ones, could have been meant.
    possible = (field == LENGTH and word <= 1) or (field == ROW_BYTES and word == 1)
    assert lost.pop("prices") == (0 if possible else 1)
    assert set(lost.values()) == {0}
    with vasmem.attach(url("new")) as segment:
        assert segment["map"]["key"] == "value"
        assert segment.array("records")["b"].tolist() == [b"abc"] * 7
    vasmem.remove(url("old"))
    vasmem.remove(url("new"))
