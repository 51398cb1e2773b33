"""Runs in the guest: what only the kernel module can show."""

import ctypes
import errno
import fcntl
import gc
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vasmem
from vasmem import _core
from vasmem.backends.vas import calls

STRANGER = 65534
Make = Callable[..., vasmem.Segment]
MAX_BYTES = 1 << 20


def listing() -> list[str]:
    """Names in /proc/vas."""
    return [line.split()[-1] for line in Path("/proc/vas").read_text().splitlines()[1:]]


def attached(vas: calls.Device, number: int) -> int:
    return int(vas.get(number).attached)


@contextmanager
def as_stranger() -> Iterator[None]:
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def vas() -> Iterator[calls.Device]:
    with calls.device() as found:
        yield found
        for kind in (calls.SEGMENT, calls.SPACE):
            for each in list(found.every(kind)):
                found.call(calls.DELETE, calls.Delete(id=each.id))


def new(vas: calls.Device, name: str, mode: int = 0o600, kind: int = calls.SEGMENT) -> int:
    size = MAX_BYTES if kind == calls.SEGMENT else 0
    made = vas.call(calls.CREATE, calls.Create(kind=kind, mode=mode, max_bytes=size, dax_fd=-1))
    wanted = calls.Publish(fd=made.fd, lock_fd=made.lock_fd, name=name.encode())
    try:
        return int(vas.call(calls.PUBLISH, wanted).id)
    finally:
        os.close(made.fd)
        if made.lock_fd >= 0:
            os.close(made.lock_fd)


def attach(vas: calls.Device, number: int, access: int = calls.READ_WRITE) -> tuple[int, int]:
    given = vas.call(calls.ATTACH, calls.Attach(id=number, access=access))
    return given.fd, given.lock_fd


def test_lives_without_processes(vas: calls.Device) -> None:
    code = (
        "import vasmem\n"
        "with vasmem.create('vas://orders') as segment:\n"
        "    segment.hashmap('users')['ada'] = 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert listing() == ["orders"]
    number = vas.find(calls.SEGMENT, "orders")
    assert attached(vas, number) == 0
    with vasmem.attach("vas://orders") as segment:
        assert segment.hashmap("users")["ada"] == 1
        assert attached(vas, number) > 0
    del segment
    gc.collect()
    assert attached(vas, number) == 0
    vasmem.remove("vas://orders")
    assert listing() == []


def test_grows_to_its_maximum_and_never_shrinks(vas: calls.Device) -> None:
    fd, lock_fd = attach(vas, new(vas, "orders"))
    os.posix_fallocate(fd, 0, 4096)
    assert os.fstat(fd).st_size == 4096
    os.posix_fallocate(fd, MAX_BYTES - 4096, 4096)
    assert os.fstat(fd).st_size == MAX_BYTES
    with pytest.raises(OSError, match="too large") as caught:
        os.posix_fallocate(fd, MAX_BYTES, 1)
    assert caught.value.errno == errno.EFBIG
    for size in (0, MAX_BYTES - 1, MAX_BYTES + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", MAX_BYTES)
    with pytest.raises(PermissionError):
        os.pwrite(lock_fd, b"x", 4096)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    with mmap.mmap(fd, MAX_BYTES) as memory:
        memory[0] = memory[MAX_BYTES - 1] = 7
    assert os.pread(fd, 1, MAX_BYTES - 1) == b"\7"
    os.close(fd)
    os.close(lock_fd)


def test_a_reader_cannot_become_a_writer(vas: calls.Device) -> None:
    number = new(vas, "orders", 0o644)
    fds = attach(vas, number)
    os.posix_fallocate(fds[0], 0, 4096)
    for fd in fds:
        os.close(fd)
    with as_stranger():
        fd, lock_fd = attach(vas, number, calls.READ)
        assert lock_fd == -1
        with pytest.raises(PermissionError):
            attach(vas, number)
        for access in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            with pytest.raises(PermissionError):
                os.open(f"/proc/self/fd/{fd}", access)
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 4096, prot=mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.fchmod(fd, 0o666)
        os.close(fd)


def test_only_the_owner_changes_and_deletes(vas: calls.Device) -> None:
    number = new(vas, "orders", 0o666)
    change = calls.Found(id=number, which=calls.SET_MODE, mode=0o600)
    with as_stranger():
        with pytest.raises(PermissionError):
            vas.call(calls.SET, change)
        with pytest.raises(PermissionError):
            vas.call(calls.DELETE, calls.Delete(id=number))
    vas.call(calls.SET, change)
    assert vas.get(number).mode == 0o600
    with as_stranger(), pytest.raises(PermissionError):
        attach(vas, number, calls.READ)
    given = calls.Found(id=number, which=calls.SET_USER, uid=STRANGER)
    vas.call(calls.SET, given)
    with as_stranger():
        for fd in attach(vas, number):
            os.close(fd)
        vas.call(calls.DELETE, calls.Delete(id=number))


def test_names_are_one_for_each_kind(vas: calls.Device) -> None:
    new(vas, "orders")
    with pytest.raises(FileExistsError):
        new(vas, "orders")
    new(vas, "orders", kind=calls.SPACE)
    assert sorted(listing()) == ["orders", "orders"]
    for name in ("", "x" * 256):
        with pytest.raises(OSError, match=r"Invalid|too long"):
            vas.call(calls.FIND, calls.Find(kind=1, name=name.encode()))


def test_what_is_in_use_can_be_kept(vas: calls.Device) -> None:
    number = new(vas, "orders")
    fd, lock_fd = attach(vas, number)
    with pytest.raises(OSError, match="busy") as caught:
        vas.call(calls.DELETE, calls.Delete(id=number, flags=calls.IF_UNUSED))
    assert caught.value.errno == errno.EBUSY
    os.close(lock_fd)
    os.posix_fallocate(fd, 0, 4096)
    vas.call(calls.DELETE, calls.Delete(id=number))
    with pytest.raises(FileNotFoundError):
        attach(vas, number)
    os.pwrite(fd, b"those inside go on", 0)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    os.posix_fallocate(again, 4096, 4096)
    with pytest.raises(PermissionError):
        os.ftruncate(again, 0)
    os.close(again)
    os.close(fd)


def test_a_vas_is_bound_by_those_who_may_write_it(vas: calls.Device) -> None:
    space = new(vas, "trading", 0o644, calls.SPACE)
    orders, prices = new(vas, "orders", 0o644), new(vas, "prices", 0o666)
    bind = calls.Binding(space=space, segment=orders, access=calls.READ)
    with as_stranger(), pytest.raises(PermissionError):
        vas.call(calls.BIND, bind)
    vas.call(calls.BIND, bind)
    vas.call(calls.BIND, calls.Binding(space=space, segment=prices, access=calls.READ_WRITE))
    with as_stranger():
        found = [(each.segment, each.access) for each in vas.bindings(space)]
    assert found == [(orders, calls.READ), (prices, calls.READ_WRITE)]
    vas.call(calls.DELETE, calls.Delete(id=orders))
    assert [each.segment for each in vas.bindings(space)] == [prices]
    vas.call(calls.UNBIND, calls.Binding(space=space, segment=prices))
    assert list(vas.bindings(space)) == []


def test_only_files_of_the_module_or_in_persistent_memory_get_names(vas: calls.Device) -> None:
    made = vas.call(
        calls.CREATE, calls.Create(kind=calls.SEGMENT, mode=0o600, max_bytes=4096, dax_fd=-1)
    )
    foreign = os.memfd_create("foreign")
    for fd, lock_fd in ((foreign, made.lock_fd), (made.fd, foreign), (made.lock_fd, made.fd)):
        with pytest.raises(OSError, match="Invalid"):
            vas.call(calls.PUBLISH, calls.Publish(fd=fd, lock_fd=lock_fd, name=b"orders"))
    for fd in (foreign, made.fd, made.lock_fd):
        os.close(fd)
    assert listing() == []


def test_a_file_in_persistent_memory(vas: calls.Device) -> None:
    path = "/pmem/module"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(fd, 0, 65536)
    made = vas.call(calls.CREATE, calls.Create(kind=calls.SEGMENT, mode=0o600, dax_fd=fd))
    vas.call(calls.PUBLISH, calls.Publish(fd=fd, lock_fd=made.lock_fd, name=b"durable"))
    os.pwrite(fd, b"here", 0)
    os.close(fd)
    os.close(made.lock_fd)
    number = vas.find(calls.SEGMENT, "durable")
    with as_stranger(), pytest.raises(PermissionError):
        attach(vas, number, calls.READ)
    fd, lock_fd = attach(vas, number)
    assert os.pread(fd, 4, 0) == b"here"
    os.close(fd)
    os.close(lock_fd)
    os.unlink(path)


def test_is_not_unloaded_while_in_use(vas: calls.Device) -> None:
    new(vas, "orders")
    assert subprocess.run(["/sbin/rmmod", "vas"], capture_output=True, check=False).returncode != 0
    assert listing() == ["orders"]


def test_this_processor_has_protection_keys() -> None:
    """So that the tests of switching, which run here too, are about them."""
    assert _core.has_keys()


def test_calls_of_another_size_are_refused(vas: calls.Device) -> None:
    class Short(ctypes.Structure):
        _fields_ = (("id", ctypes.c_uint64),)

    for number in (calls.GET & ~0x3FFF0000 | 8 << 16, calls.GET ^ 1 << 30, 0x5612):
        with pytest.raises(OSError, match="Inappropriate") as caught:
            vas.call(number, Short())
        assert caught.value.errno == errno.ENOTTY
