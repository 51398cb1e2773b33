"""`remove` while others are attached: as with a file, those inside go on, and the name is free."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import files_of
from test_fork import in_child

import vasmem
from vasmem.backends import Backend

Url = Callable[[str], str]

INSIDE = """
import sys, vasmem
segment = vasmem.attach(sys.argv[1])
blobs = segment["blobs"]
print("inside", flush=True)
for line in sys.stdin:
    first, count = map(int, line.split())
    for number in range(first, first + count):
        blobs[b"%d" % number] = bytes(100_000)
    with segment.transaction():
        blobs[b"last"] = b"%d" % number
    print(len(segment.check()), len(blobs), flush=True)
"""


class Inside:
    """Another process that has it attached and writes when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def write(self, first: int, count: int) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(first, count, file=self.process.stdin, flush=True)
        return self.process.stdout.readline()


@contextmanager
def inside(url: str) -> Iterator[Inside]:
    with subprocess.Popen(
        [sys.executable, "-c", INSIDE, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        try:
            yield Inside(process)
        finally:
            process.kill()


@pytest.fixture
def removed(url: Url) -> Iterator[vasmem.Segment]:
    """A segment that the test takes the name of; this process has it attached."""
    with vasmem.create(url("orders"), max_size="1G") as segment:
        segment.hashmap("blobs", raw=True)[b"kept"] = b"1"
        yield segment
        assert segment.check() == []


def test_all_inside_go_on_and_grow(removed: vasmem.Segment, url: Url, home: Path) -> None:
    blobs = removed["blobs"]
    with inside(url("orders")) as other, vasmem.attach(url("orders"), readonly=True) as reader:
        size = removed.size
        vasmem.remove(url("orders"))
        assert list(home.iterdir()) == []
        assert vasmem.segments() == []
        assert other.write(0, 100) == "0 102\n"
        for number in range(100, 200):
            blobs[b"%d" % number] = bytes(100_000)
        with removed.transaction():
            blobs[b"kept"] = b"2"
        assert removed.size > size + 10_000_000
        assert (reader["blobs"][b"kept"], len(reader["blobs"])) == (b"2", 202)
        assert other.write(200, 100) == "0 302\n"
        with pytest.raises(vasmem.SegmentNotFound):
            vasmem.attach(url("orders"))
        with pytest.raises(vasmem.SegmentNotFound):
            vasmem.remove(url("orders"))
        removed.sync()


def test_one_of_the_same_name_beside_it(
    removed: vasmem.Segment, url: Url, home: Path, backend: Backend
) -> None:
    handle = pickle.dumps(removed["blobs"])
    with inside(url("orders")) as other:
        vasmem.remove(url("orders"))
        with vasmem.create(url("orders"), max_size="1G") as second:
            assert second.uuid != removed.uuid
            second.hashmap("users")["second"] = 1
            # Each has locks of its own: a transaction in one stops nobody in the other.
            with second.transaction():
                second["users"]["k"] = 1
                assert other.write(0, 50) == "0 52\n"
                removed["blobs"][b"k"] = b"1"
            with removed.transaction(), vasmem.attach(url("orders")) as third:
                third["users"]["third"] = 1
            assert dict(second["users"]) == {"second": 1, "k": 1, "third": 1}
            assert set(second) == {"users"}
            with pytest.raises(vasmem.SegmentNotFound, match="a later one of that name"):
                pickle.loads(handle)
            assert second.check() == []
            assert len(list(home.iterdir())) == files_of(backend)
        vasmem.remove(url("orders"))
    assert len(removed["blobs"]) == 53
    assert list(home.iterdir()) == []


def test_fork_after_it(removed: vasmem.Segment, url: Url) -> None:
    """The child takes a lock file of its own although that has no name any more."""
    blobs = removed["blobs"]
    vasmem.remove(url("orders"))

    def write() -> None:
        with removed.transaction():
            blobs[b"child"] = b"%d" % os.getpid()
        for number in range(100):
            blobs[b"%d" % number] = bytes(100_000)
        assert removed.check() == []
        assert in_child(lambda: blobs.__setitem__(b"grandchild", b"1")) == 0

    assert in_child(write) == 0
    assert (len(blobs), blobs[b"grandchild"]) == (103, b"1")

    def die() -> None:
        with removed.transaction():
            blobs[b"dead"] = b"1"
            os.kill(os.getpid(), 9)

    assert in_child(die) == -9
    blobs[b"alive"] = b"1"
    assert b"dead" not in blobs
