"""VASes that the kernel keeps; their segments are those of the backend `vas`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from vasmem.backends.base import Attributes
from vasmem.backends.common import check_mode
from vasmem.backends.naming import check_name
from vasmem.backends.owners import check_owner, user_name
from vasmem.backends.spaces import Space, exists, not_found, read_only
from vasmem.backends.vas import calls
from vasmem.backends.vas.calls import Found, device
from vasmem.errors import PermissionDenied, SegmentNotFound

SCHEME = "vas://"


class KernelSpaces:
    """Fulfils `vasmem.backends.spaces.Spaces`."""

    def create(self, name: str, *, mode: int) -> Space:
        """Make an empty one and open it."""
        check_name(name, "a VAS")
        check_mode(mode, SCHEME + name)
        with device() as vas:
            made = vas.call(calls.CREATE, calls.Create(kind=calls.SPACE, mode=mode, dax_fd=-1))
            try:
                wanted = calls.Publish(fd=made.fd, lock_fd=-1, name=name.encode())
                number = vas.call(calls.PUBLISH, wanted).id
            except BaseException as error:
                os.close(made.fd)
                if isinstance(error, FileExistsError):
                    raise exists(SCHEME + name) from None
                raise
        return KernelSpace(made.fd, number, name, readonly=False)

    def open(self, name: str, *, readonly: bool, owner: str | None) -> Space:
        """Open one."""
        check_name(name, "a VAS")
        with device() as vas:
            try:
                number = vas.find(calls.SPACE, name)
                access = calls.READ if readonly else calls.READ_WRITE
                fd = vas.call(calls.ATTACH, calls.Attach(id=number, access=access)).fd
            except FileNotFoundError:
                raise not_found(SCHEME + name) from None
            except PermissionError:
                raise PermissionDenied(
                    f"{user_name(os.geteuid())} may not {'read' if readonly else 'change'} the VAS "
                    f"{SCHEME}{name}; ask its owner for permission, or try readonly=True"
                ) from None
        try:
            check_owner(os.fstat(fd), SCHEME + name, owner)
        except BaseException:
            os.close(fd)
            raise
        return KernelSpace(fd, number, name, readonly)

    def list(self) -> Iterator[Attributes]:
        """All that the kernel has."""
        with device() as vas:
            found = [_attributes(each) for each in vas.every(calls.SPACE)]
        yield from sorted(found, key=lambda each: each.path)

    def remove(self, name: str) -> None:
        """Take the name away."""
        check_name(name, "a VAS")
        with device() as vas:
            try:
                number = vas.find(calls.SPACE, name)
                vas.call(calls.DELETE, calls.Delete(id=number))
            except FileNotFoundError:
                raise not_found(SCHEME + name) from None
            except PermissionError:
                text = f"only the owner of the VAS {SCHEME}{name} or root removes it"
                raise PermissionDenied(text) from None


class KernelSpace:
    """An open VAS of the kernel; fulfils `vasmem.backends.spaces.Space`."""

    def __init__(self, fd: int, number: int, name: str, readonly: bool) -> None:
        self._fd = fd
        self._number = number
        self._name = name
        self._readonly = readonly

    def members(self) -> dict[str, bool]:
        """Those that are bound; one that was removed is so no more."""
        members = {}
        with device() as vas:
            for bound in vas.bindings(self._number):
                with suppress(FileNotFoundError):  # removed since
                    name = vas.get(bound.segment).name.decode(errors="replace")
                    members[SCHEME + name] = bound.access == calls.READ
        return members

    def bind(self, url: str, *, readonly: bool) -> None:
        """Bind it in the kernel."""
        self._change(calls.BIND, url, calls.READ if readonly else calls.READ_WRITE)

    def unbind(self, url: str) -> None:
        """Take it out in the kernel."""
        with suppress(FileNotFoundError, SegmentNotFound):
            self._change(calls.UNBIND, url, calls.READ)

    def _change(self, call: int, url: str, access: int) -> None:
        if not url.startswith(SCHEME):
            raise ValueError(
                f"a VAS of the kernel holds segments of the kernel, as {SCHEME}orders, not {url}; "
                "a VAS without vas:// in its name holds segments of any kind"
            )
        if self._readonly:
            raise read_only(SCHEME + self._name)
        with device() as vas:
            try:
                segment = vas.find(calls.SEGMENT, url.removeprefix(SCHEME))
                bound = calls.Binding(space=self._number, segment=segment, access=access)
                vas.call(call, bound)
            except FileNotFoundError:
                raise SegmentNotFound(f"{url} or the VAS {SCHEME}{self._name} is gone") from None
            except PermissionError:
                raise PermissionDenied(
                    f"adding {url} to the VAS {SCHEME}{self._name} takes write permission for the "
                    "VAS, and for the segment what it is added for; try readonly=True"
                ) from None

    def attributes(self) -> Attributes:
        """As the kernel knows them."""
        found = os.fstat(self._fd)
        return Attributes(self._name, 0, found.st_mode & 0o777, user_name(found.st_uid))

    def change(self, *, mode: int | None, uid: int, gid: int) -> None:
        """By the rules for files."""
        which = calls.SET_MODE * (mode is not None)
        which |= calls.SET_USER * (uid != -1) | calls.SET_GROUP * (gid != -1)
        if mode is not None:
            check_mode(mode, SCHEME + self._name)
        wanted = calls.Found(
            id=self._number, which=which, mode=mode or 0, uid=max(uid, 0), gid=max(gid, 0)
        )
        with device() as vas:
            try:
                vas.call(calls.SET, wanted)
            except FileNotFoundError:
                raise not_found(SCHEME + self._name) from None
            except PermissionError:
                text = f"only the owner of the VAS {SCHEME}{self._name} or root changes it"
                raise PermissionDenied(text) from None

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._fd)


def _attributes(found: Found) -> Attributes:
    return Attributes(found.name.decode(errors="replace"), 0, found.mode, user_name(found.uid))
