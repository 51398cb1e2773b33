"""A process with read permission alone can neither write nor disturb, whatever it tries.

Needs root, as conftest.py says.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from users import MEMBER, OWNER, STRANGER, acting, run

import vasmem

Url = Callable[[str], str]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]

# Names and numbers of fcntl.h that Python has not.
OFD_SETLK = 37
SET_LEASE = 1024
REFUSED = (errno.EACCES, errno.EPERM, errno.EBADF)


@pytest.fixture
def orders(url: Url) -> Iterator[str]:
    """A segment that all may read and its owner writes."""

    def make() -> None:
        with vasmem.create(url("orders"), mode=0o644, max_size="1G") as segment:
            segment.hashmap("counts").update(dict.fromkeys(range(50), 0))

    run(OWNER, make)
    yield url("orders")
    run(OWNER, lambda: vasmem.remove(url("orders")))


def descriptors(path: Path) -> list[int]:
    """Those of this process that are the segment."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}") == str(path):
                found.append(int(entry))
        except FileNotFoundError:  # that of the listing itself
            continue
    assert found, "an attachment has a descriptor"
    return found


def mapped(path: Path) -> list[tuple[int, int]]:
    """Where this process has mapped the segment."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(f" {path}")]
    assert ranges, "an attachment has a mapping"
    return [(int(begin, 16), int(end, 16)) for begin, end in ranges]


def attempts_to_write(path: Path) -> dict[str, Callable[[], object]]:
    """Every way to come to a writable descriptor or mapping, or to change the file by another."""
    fd, (begin, end) = descriptors(path)[0], mapped(path)[0]
    by_fd, by_map = f"/proc/self/fd/{fd}", f"/proc/self/map_files/{begin:x}-{end:x}"
    read_and_write = mmap.PROT_READ | mmap.PROT_WRITE

    def protect() -> None:
        if _libc.mprotect(begin, end - begin, read_and_write) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def allocate() -> None:
        if _libc.fallocate(fd, 0, 0, 1 << 30) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    return {
        "reopen for both": lambda: os.open(by_fd, os.O_RDWR),
        "reopen for writing": lambda: os.open(by_fd, os.O_WRONLY),
        "reopen and truncate": lambda: os.open(by_fd, os.O_RDONLY | os.O_TRUNC),
        "reopen the mapping": lambda: os.open(by_map, os.O_RDWR),
        "open by name": lambda: os.open(path, os.O_RDWR),
        "truncate by descriptor": lambda: os.truncate(by_fd, 0),
        "truncate": lambda: os.truncate(path, 0),
        "write": lambda: os.pwrite(fd, b"x", 0),
        "allocate": allocate,
        "set flags": lambda: [fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR), os.pwrite(fd, b"x", 0)],
        "map for writing": lambda: mmap.mmap(fd, 4096, mmap.MAP_SHARED, read_and_write),
        "protect for writing": protect,
        "chmod": lambda: os.chmod(by_fd, 0o666),
        "chmod by descriptor": lambda: os.fchmod(fd, 0o666),
        "chown": lambda: os.fchown(fd, os.getuid(), -1),
        "unlink": lambda: os.unlink(path),
        "rename": lambda: os.rename(path, f"{path}-2"),
    }


def refusals(attempts: dict[str, Callable[[], object]]) -> dict[str, bool]:
    """Which of them the system refused."""

    def refused(attempt: Callable[[], object]) -> bool:
        try:
            attempt()
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return True
        return False

    return {name: refused(attempt) for name, attempt in attempts.items()}


def test_a_reader_comes_to_no_writable_descriptor_or_mapping(orders: str, home: Path) -> None:
    def play() -> dict[str, bool]:
        with vasmem.attach(orders, readonly=True, owner="any") as segment:
            assert segment["counts"][0] == 0
            said = refusals(attempts_to_write(home / "orders"))
            with pytest.raises(vasmem.PermissionDenied, match="read-only"):
                segment["counts"][0] = 1
            return said

    for user in (MEMBER, STRANGER):
        said = run(user, play)
        assert len(said) == 17
        assert [name for name, refused in said.items() if not refused] == []


def whole_file(kind: int) -> bytes:
    """A request for a lock on the whole file, `struct flock`."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def attempts_to_lock(path: Path) -> dict[str, Callable[[], object]]:
    """Every lock that there is, on what a reader can open; those that it gets, it keeps."""
    fd = descriptors(path)[0]
    (companion,) = path.parent.glob(f".{path.name}.*.vasmem.lock")
    again = os.open(path, os.O_RDONLY)
    directory = os.open(path.parent, os.O_RDONLY)
    shared, exclusive = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB
    return {
        "shared POSIX lock": lambda: fcntl.lockf(fd, shared),
        "exclusive POSIX lock": lambda: fcntl.lockf(fd, exclusive),
        "shared OFD lock": lambda: fcntl.fcntl(again, OFD_SETLK, whole_file(fcntl.F_RDLCK)),
        "exclusive OFD lock": lambda: fcntl.fcntl(again, OFD_SETLK, whole_file(fcntl.F_WRLCK)),
        "flock": lambda: fcntl.flock(again, exclusive),
        "flock of the directory": lambda: fcntl.flock(directory, exclusive),
        "lease": lambda: fcntl.fcntl(fd, SET_LEASE, fcntl.F_RDLCK),
        "lock file for reading": lambda: os.open(companion, os.O_RDONLY),
        "lock file for writing": lambda: os.open(companion, os.O_RDWR),
        "flock without access": lambda: fcntl.flock(os.open(companion, os.O_PATH), exclusive),
        "unlink the lock file": lambda: os.unlink(companion),
    }


def test_a_reader_with_every_lock_it_can_get_disturbs_nobody(
    orders: str, url: Url, home: Path
) -> None:
    def hold(connection: Connection) -> None:
        with vasmem.attach(orders, readonly=True, owner="any") as segment:
            connection.send(refusals(attempts_to_lock(home / "orders")))
            sums = 0
            while not connection.poll():
                values = list(segment["counts"].values())
                assert len(values) == 50
                sums += 1
            connection.recv()
            connection.send(sums)

    def write() -> None:
        with vasmem.attach(orders) as segment:
            segment.timeout = 60
            blobs = segment.hashmap("blobs", raw=True)
            for number in range(100):
                with segment.transaction():
                    for key in range(50):
                        segment["counts"][key] += 1
                blobs[b"%d" % number] = bytes(100_000)  # and so it grows
            assert segment.size > 10_000_000
            assert segment.check() == []
            segment.sync()

    def attach_and_leave() -> None:
        for _ in range(20):
            with vasmem.attach(orders) as segment:
                segment.hashmap("visits").incr("attached", 1)
            vasmem.create(url("another"), max_size="16M").close()
            assert len(vasmem.segments()) == 2
            vasmem.remove(url("another"))

    with acting(MEMBER, hold) as reader:
        said = reader.recv()
        got = {name for name, refused in said.items() if not refused}
        assert got == {"shared POSIX lock", "shared OFD lock", "flock", "flock of the directory"}
        with (
            acting(OWNER, lambda done: [write(), done.send(None)]) as first,
            acting(OWNER, lambda done: [attach_and_leave(), done.send(None)]) as second,
        ):
            assert first.recv() is None
            assert second.recv() is None
        reader.send("enough")
        assert reader.recv() > 0
    with vasmem.attach(orders, readonly=True, owner="any") as segment:
        assert set(segment["counts"].values()) == {100}
