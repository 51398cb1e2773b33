"""The calls of /dev/vas, as `kmod/vas.h` declares them."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from vasmem.errors import BackendUnavailable

DEVICE = "/dev/vas"
VERSION = 1
NAME_BYTES = 256
SEGMENT, SPACE = 1, 2
READ, READ_WRITE = 0, 2
SET_MODE, SET_USER, SET_GROUP = 1, 2, 4
IF_UNUSED = 1


class Create(ctypes.Structure):
    """Arguments of CREATE."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("max_bytes", ctypes.c_uint64),
        ("dax_fd", ctypes.c_int32),
        ("fd", ctypes.c_int32),
        ("lock_fd", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    )


class Publish(ctypes.Structure):
    """Arguments of PUBLISH."""

    _fields_ = (
        ("fd", ctypes.c_int32),
        ("lock_fd", ctypes.c_int32),
        ("id", ctypes.c_uint64),
        ("name", ctypes.c_char * NAME_BYTES),
    )


class Find(ctypes.Structure):
    """Arguments of FIND."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("id", ctypes.c_uint64),
        ("name", ctypes.c_char * NAME_BYTES),
    )


class Attach(ctypes.Structure):
    """Arguments of ATTACH."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("access", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("lock_fd", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    )


class Found(ctypes.Structure):
    """Attributes of an object: of GET, SET and NEXT."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("which", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("attached", ctypes.c_uint32),
        ("size_bytes", ctypes.c_uint64),
        ("max_bytes", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("name", ctypes.c_char * NAME_BYTES),
    )


class Delete(ctypes.Structure):
    """Arguments of DELETE."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class Binding(ctypes.Structure):
    """Arguments of BIND, UNBIND and NEXT_BINDING."""

    _fields_ = (
        ("space", ctypes.c_uint64),
        ("segment", ctypes.c_uint64),
        ("access", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


_READ, _WRITE = 2, 1
Arguments = TypeVar("Arguments", bound=ctypes.Structure)


def _number(direction: int, number: int, kind: type) -> int:
    """The number of a call (asm-generic/ioctl.h)."""
    return direction << 30 | ctypes.sizeof(kind) << 16 | ord("V") << 8 | number


GET_VERSION = _number(_READ, 0, ctypes.c_uint32)
CREATE = _number(_READ | _WRITE, 1, Create)
PUBLISH = _number(_READ | _WRITE, 2, Publish)
FIND = _number(_READ | _WRITE, 3, Find)
ATTACH = _number(_READ | _WRITE, 4, Attach)
GET = _number(_READ | _WRITE, 5, Found)
SET = _number(_WRITE, 6, Found)
NEXT = _number(_READ | _WRITE, 7, Found)
DELETE = _number(_WRITE, 8, Delete)
BIND = _number(_WRITE, 9, Binding)
UNBIND = _number(_WRITE, 10, Binding)
NEXT_BINDING = _number(_READ | _WRITE, 11, Binding)


class Device:
    """/dev/vas, open. Calls raise OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def call(self, number: int, arguments: Arguments) -> Arguments:
        """One call; the arguments come back with what the module filled in."""
        fcntl.ioctl(self._fd, number, arguments)
        return arguments

    def find(self, kind: int, name: str) -> int:
        """The number of the object of that name. Raises FileNotFoundError."""
        return int(self.call(FIND, Find(kind=kind, name=name.encode())).id)

    def get(self, number: int) -> Found:
        """The attributes of an object. Raises FileNotFoundError."""
        return self.call(GET, Found(id=number))

    def every(self, kind: int) -> Iterator[Found]:
        """All objects of a kind, by their numbers."""
        last = 0
        while True:
            try:
                found = self.call(NEXT, Found(id=last, kind=kind))
            except FileNotFoundError:
                return
            last = found.id
            yield found

    def bindings(self, space: int) -> Iterator[Binding]:
        """The segments of a VAS, by their numbers."""
        last = 0
        while True:
            try:
                found = self.call(NEXT_BINDING, Binding(space=space, segment=last))
            except FileNotFoundError:
                return
            last = found.segment
            yield found


def is_loaded() -> bool:
    """Whether the module is there."""
    return os.path.exists(DEVICE)


@contextmanager
def device() -> Iterator[Device]:
    """The device. Raises BackendUnavailable with how to get it."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise BackendUnavailable(
            f"the kernel has no VAS module ({DEVICE}: {error.strerror}); build it with the headers "
            "of this kernel by `make kmod` in a checkout of vasmem, then `insmod "
            "backends/vas/kmod/build/vas.ko`, or let DKMS do both with backends/vas/kmod"
        ) from None
    try:
        version = ctypes.c_uint32()
        fcntl.ioctl(fd, GET_VERSION, version)
        if version.value != VERSION:
            raise BackendUnavailable(
                f"the VAS module speaks version {version.value} of its interface, this vasmem "
                f"{VERSION}; build and load the module of this vasmem by `make kmod`"
            )
        yield Device(fd)
    finally:
        os.close(fd)
