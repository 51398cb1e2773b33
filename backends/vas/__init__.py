"""Backend `vas`: segments that the kernel keeps, with no file system at all.

They survive any process and no reboot, as those of `shm` do; their names, owners and permissions
are the business of the module `kmod`, which must be loaded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vasmem.backends import nameless
from vasmem.backends.base import Attributes, Opened
from vasmem.backends.common import check_mode, not_found
from vasmem.backends.naming import check_name
from vasmem.backends.owners import check_owner, user_name
from vasmem.backends.vas import calls
from vasmem.backends.vas.calls import Device, Found, device
from vasmem.errors import PermissionDenied
from vasmem.promises import Promises

# The segment itself says how far it grows; this is what the module holds everyone to.
MAX_BYTES = 1 << 46


class VasBackend:
    """Segments of the kernel module; fulfils `vasmem.backends.base.Backend`."""

    name = "vas"
    promises = Promises(kill=True, power=False, flush=False)

    def create(self, path: str, *, mode: int, fill: Callable[[Opened], None]) -> Opened:
        """Make a new segment of that name."""
        with _device(path) as (vas, url):
            check_mode(mode, url)
            _must_be_free(vas, path, url)
            wanted = calls.Create(kind=calls.SEGMENT, mode=mode, max_bytes=MAX_BYTES, dax_fd=-1)
            made = vas.call(calls.CREATE, wanted)
            nameless_one = Opened(made.fd, made.lock_fd)
            try:
                fill(nameless_one)
                return _published(vas, path, url, nameless_one)
            finally:
                nameless_one.close()

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        """Open the segment of that name."""
        with _device(path) as (vas, url):
            return _attached(vas, _find(vas, path, url), url, readonly=readonly, owner=owner)

    def attributes(self, path: str) -> Attributes:
        """Attributes of the segment of that name."""
        with _device(path) as (vas, url):
            return _attributes(vas.get(_find(vas, path, url)))

    def list(self) -> Iterator[Attributes]:
        """All segments that the kernel has."""
        with device() as vas:
            found = [_attributes(each) for each in vas.every(calls.SEGMENT)]
        yield from sorted(found, key=lambda each: each.path)

    def remove(self, path: str) -> None:
        """Take the segment's name away."""
        with _device(path) as (vas, url):
            number = _find(vas, path, url)
            try:
                vas.call(calls.DELETE, calls.Delete(id=number))
            except FileNotFoundError:
                raise not_found(url) from None
            except PermissionError:
                raise PermissionDenied(
                    f"{url} belongs to {user_name(vas.get(number).uid)}; only its owner or root "
                    "can remove it"
                ) from None


@contextmanager
def _device(name: str) -> Iterator[tuple[Device, str]]:
    check_name(name, "a vas segment")
    with device() as vas:
        yield vas, f"vas://{name}"


def _find(vas: Device, name: str, url: str) -> int:
    try:
        return vas.find(calls.SEGMENT, name)
    except FileNotFoundError:
        raise not_found(url) from None


def _must_be_free(vas: Device, name: str, url: str) -> None:
    try:
        vas.find(calls.SEGMENT, name)
    except FileNotFoundError:
        return
    raise nameless.exists_error(url)


def _published(vas: Device, name: str, url: str, made: Opened) -> Opened:
    """Give what was filled its name; what comes back are descriptors of a published segment."""
    wanted = calls.Publish(fd=made.fd, lock_fd=made.lock_fd, name=name.encode())
    try:
        number = vas.call(calls.PUBLISH, wanted).id
    except FileExistsError:
        raise nameless.exists_error(url) from None
    except OSError as error:
        if error.errno == errno.EDQUOT:
            raise nameless.full(url) from None
        raise
    return _attached(vas, number, url, readonly=False, owner=None)


def _attached(vas: Device, number: int, url: str, *, readonly: bool, owner: str | None) -> Opened:
    access = calls.READ if readonly else calls.READ_WRITE
    try:
        given = vas.call(calls.ATTACH, calls.Attach(id=number, access=access))
    except FileNotFoundError:
        raise not_found(url) from None
    except PermissionError:
        raise _denied(vas, number, url, readonly) from None
    opened = Opened(given.fd, None if given.lock_fd < 0 else given.lock_fd)
    try:
        check_owner(os.fstat(opened.fd), url, owner)
    except BaseException:
        opened.close()
        raise
    return opened


def _denied(vas: Device, number: int, url: str, readonly: bool) -> Exception:
    """The error for a segment that may not be opened."""
    try:
        found = vas.get(number)
    except FileNotFoundError:
        return not_found(url)
    advice = "ask its owner for permission (mode= when creating it)"
    if not readonly and _may_read(vas, number):
        advice = "attach it with readonly=True, which you may, or " + advice
    return PermissionDenied(
        f"{url} belongs to {user_name(found.uid)} with mode {found.mode:04o} and "
        f"{user_name(os.geteuid())} may not {'read' if readonly else 'write'} it; {advice}"
    )


def _may_read(vas: Device, number: int) -> bool:
    try:
        given = vas.call(calls.ATTACH, calls.Attach(id=number, access=calls.READ))
    except OSError:
        return False
    os.close(given.fd)
    return True


def _attributes(found: Found) -> Attributes:
    name = found.name.decode(errors="replace")
    return Attributes(name, found.used_bytes, found.mode, user_name(found.uid))
