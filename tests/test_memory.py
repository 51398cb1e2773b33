"""Memory operations for a structure of one's own: areas, stores, flushes, fences."""

from collections.abc import Callable

import pytest

import vasmem


def test_words_and_bytes_are_where_they_were_stored(segment: vasmem.Segment) -> None:
    area = segment.memory.area("log", 100)
    assert (area.size, area.at % 64) == (4096, 0)
    area.store(8, 7)
    area.store(16, b"abcdefghi")
    area.stream(2048, b"x" * 2048)
    area.flush(8, 17)
    area.fence()
    area.persist(0)
    assert area.load(8) == 7
    assert area.read(16, 9) == b"abcdefghi"
    assert area.load(24, 1) == ord("i")
    assert area.read(2047, 2049) == b"\0" + b"x" * 2048
    assert area.compare_and_swap(8, 7, 9)
    assert not area.compare_and_swap(8, 7, 10)
    assert segment.memory.load(area.at + 8) == 9


def test_an_area_is_found_again(
    make: Callable[..., vasmem.Segment], url: Callable[[str], str]
) -> None:
    segment = make("test")
    segment.memory.area("log", 5000).store(4096, 5)
    with vasmem.attach(url("test")) as other:
        area = other.memory.area("log")
        assert (area.size, area.load(4096)) == (8192, 5)
        assert other.memory.areas == (area,)
    del segment["log"]
    with pytest.raises(KeyError):
        segment.memory.area("log")


def test_what_is_outside_of_areas_is_refused(segment: vasmem.Segment) -> None:
    memory = segment.memory
    with pytest.raises(IndexError, match=r"open one with segment\.memory\.area"):
        memory.store(0, 1)
    area = memory.area("log", 4096)
    for offset, size in ((-8, 8), (4092, 8), (4096, 1)):
        with pytest.raises(IndexError, match="it has 4096"):
            area.read(offset, size)
    with pytest.raises(IndexError, match="in no area"):
        memory.flush(area.at + 4090, 8)
    with pytest.raises(ValueError, match="multiples of 8"):
        area.store(4, 1)
    with pytest.raises(ValueError, match="64 bits"):
        area.store(0, -1)
    with pytest.raises(ValueError, match="has 4096 bytes, not 5000"):
        memory.area("log", 5000)


def test_other_structures_are_no_areas(segment: vasmem.Segment) -> None:
    segment.hashmap("map")
    segment.array("array", 64, "u8")
    for name in ("map", "array"):
        with pytest.raises(vasmem.WrongType, match="choose another name"):
            segment.memory.area(name, 4096)
    with pytest.raises(KeyError):
        segment.memory.area("none", 4096, create=False)


def test_read_only_attachments_store_nothing(
    make: Callable[..., vasmem.Segment], url: Callable[[str], str]
) -> None:
    make("test").memory.area("log", 4096).store(0, 3)
    with vasmem.attach(url("test"), readonly=True) as reader:
        area = reader.memory.area("log")
        assert area.load(0) == 3
        with pytest.raises(vasmem.PermissionDenied, match="read-only"):
            area.store(0, 4)
