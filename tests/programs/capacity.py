"""Programs that meet the end of a small file system: `capacity.py PART BACKEND DIRECTORY`.

Each runs in a mount namespace of its own, and mounts what it needs at DIRECTORY.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

MIB = 1 << 20
KEPT = {b"kept %d" % number: b"%d" % number * 10 for number in range(1_000)}

_, part, backend, where = sys.argv


def mount(options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"mode=1777,{options}", "none", where]
    subprocess.run(command, check=True)
    os.environ["VASMEM_SHM_DIR" if backend == "shm" else "VASMEM_FILE_DIRS"] = where


def url(name: str) -> str:
    return name if backend == "shm" else f"file://{where}/{name}"


def free_bytes() -> int:
    found = os.statvfs(where)
    return found.f_bavail * found.f_frsize


def full(action: Callable[[], object]) -> vasmem.SegmentFull:
    """The error by which `action` fails, whose figures are true and stand in its message."""
    with pytest.raises(vasmem.SegmentFull) as caught:
        action()
    error = caught.value
    assert error.free_bytes == free_bytes()
    for figure in (error.needed_bytes, error.free_bytes):
        assert str(figure) in str(error)
    return error


def with_records(name: str = "orders", size: str = "1M") -> vasmem.Segment:
    segment = vasmem.create(url(name), size=size, max_size="8G")
    segment.hashmap("blobs", raw=True).update(KEPT)
    return segment


def assert_well(segment: vasmem.Segment) -> None:
    """Nothing was lost, and small writes go on."""
    blobs = segment["blobs"]
    assert blobs.get_many(list(KEPT)) == list(KEPT.values())
    for number in range(100):
        blobs[b"small"] = b"%d" % number
        del blobs[b"small"]
    with segment.transaction():
        blobs[b"in a transaction"] = b"1"
        del blobs[b"in a transaction"]
    assert segment.check() == []


def fill_up(segment: vasmem.Segment) -> vasmem.SegmentFull:
    blobs = segment["blobs"]
    stored = 0

    def store() -> None:
        nonlocal stored
        while True:
            blobs[b"%d" % stored] = b"x" * 5_000
            stored += 1

    error = full(store)
    assert stored > 8_000
    assert len(blobs) == stored + len(KEPT)
    assert all(blobs[b"%d" % number] == b"x" * 5_000 for number in range(stored))
    return error


def create() -> None:
    mount("size=64m")
    with with_records() as segment:
        error = full(lambda: vasmem.create(url("large"), size="128M", max_size="8G"))
        assert error.needed_bytes >= 128 * MIB
        assert (error.size_bytes, error.max_bytes) == (0, 8 << 30)
        assert "give a smaller size" in str(error)
        assert_well(segment)
    assert [info.name for info in vasmem.segments()] == [url("orders")]
    assert len(os.listdir(where)) == 2
    vasmem.create(url("large"), size="40M", max_size="8G").close()


def grow() -> None:
    mount("size=64m")
    with with_records() as segment:
        error = fill_up(segment)
        assert (error.size_bytes, error.max_bytes) == (segment.size, segment.max_size)
        assert error.needed_bytes < MIB
        assert error.free_bytes < 2 * MIB, "what is left would have been enough"
        assert "nothing was changed" in str(error)
        assert "free some" in str(error)
        assert_well(segment)
        with vasmem.attach(url("orders")) as another:
            assert_well(another)
        segment.sync()


def crowd() -> None:
    """Not even a place for one more writer is left."""
    mount("size=64m")
    with with_records() as segment:
        fill_up(segment)
        Path(where, "other").write_bytes(bytes(free_bytes()))
        with vasmem.attach(url("orders")) as late:
            error = full(lambda: late["blobs"].pop(b"0"))
            assert error.needed_bytes == 16_384
            assert late["blobs"][b"0"] == b"x" * 5_000
        blobs = segment["blobs"]
        failures: list[BaseException] = []
        threads = [threading.Thread(target=write_in_place, args=(blobs, n)) for n in range(4)]
        threading.excepthook = lambda args: failures.append(args.exc_value)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with blobs.view(b"0") as view:
            assert bytes(view) == b"x" * 5_000
        os.unlink(Path(where, "other"))
        assert_well(segment)


def write_in_place(blobs: vasmem.HashMap[bytes, bytes], number: int) -> None:
    for _ in range(2_000):
        blobs[b"kept %d" % number] = KEPT[b"kept %d" % number]


def large() -> None:
    mount("size=64m")
    with with_records() as segment:
        blobs = segment["blobs"]
        blobs[b"large"] = b"before"
        error = full(lambda: blobs.__setitem__(b"large", bytes(80 * MIB)))
        assert error.needed_bytes >= 80 * MIB
        assert blobs[b"large"] == b"before"
        assert_well(segment)

        def in_a_transaction() -> None:
            with segment.transaction():
                blobs[b"large"] = b"undone"
                blobs[b"larger"] = bytes(80 * MIB)

        full(in_a_transaction)
        assert blobs[b"large"] == b"before"
        keys = [b"first", b"large", b"last"]
        full(lambda: blobs.put_many(keys, [b"1", bytes(80 * MIB), b"3"]))
        assert blobs.get_many(keys) == [b"1", b"before", None]
        del blobs[b"first"]
        blobs[b"large"] = bytes(30 * MIB)
        full(lambda: blobs.__setitem__(b"larger", bytes(30 * MIB)))
        assert_well(segment)
        del blobs[b"large"]
        blobs[b"larger"] = bytes(30 * MIB)
        assert_well(segment)


def inodes() -> None:
    """Room for bytes, and none for files."""
    mount("nr_inodes=6")
    made = [with_records("orders"), with_records("more")]
    with pytest.raises(vasmem.SegmentFull, match=r"no room for .*third.*df -i"):
        with_records("third")
    assert len(vasmem.segments()) == 2
    for segment in made:
        assert_well(segment)
        segment.close()


{"create": create, "grow": grow, "crowd": crowd, "large": large, "inodes": inodes}[part]()
