"""VASes as named sets of segments: what keeps them, and the keeper that works on every kernel.

That one keeps a VAS in a file beside the shm segments, `.NAME.vasmem.vas`: a line of JSON for each
change. A line is written at once, behind the others; one that a killed writer left incomplete is no
JSON and counts for nothing. So readers need no lock and writers leave none, and the file's owner,
group and mode say who may read and change it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from vasmem.backends import nameless
from vasmem.backends.base import Attributes
from vasmem.backends.common import check_mode
from vasmem.backends.naming import check_name
from vasmem.backends.owners import check_owner, denied, user_name
from vasmem.backends.shm import open_directory
from vasmem.errors import PermissionDenied, SegmentExists, SegmentNotFound

_FILE = re.compile(r"\.(.+)\.vasmem\.vas", re.DOTALL)


class Space(Protocol):
    """A VAS that is open."""

    def members(self) -> dict[str, bool]:
        """URLs of its segments, and whether only for reading."""

    def bind(self, url: str, *, readonly: bool) -> None:
        """Make that segment a member. Raises PermissionDenied, ValueError."""

    def unbind(self, url: str) -> None:
        """Let it go, if it is one. Raises PermissionDenied."""

    def attributes(self) -> Attributes:
        """Name, mode and owner."""

    def change(self, *, mode: int | None, uid: int, gid: int) -> None:
        """Set mode, owner, group; -1 leaves as it is. Raises PermissionDenied."""

    def close(self) -> None:
        """Give back the descriptor."""


class Spaces(Protocol):
    """A keeper of VASes by name."""

    def create(self, name: str, *, mode: int) -> Space:
        """Make an empty one and open it. Raises SegmentExists."""

    def open(self, name: str, *, readonly: bool, owner: str | None) -> Space:
        """Open one, by the rules for segments. Raises SegmentNotFound, PermissionDenied."""

    def list(self) -> Iterator[Attributes]:
        """All that exist, sorted by name."""

    def remove(self, name: str) -> None:
        """Take the name away. Raises SegmentNotFound, PermissionDenied."""


def not_found(url: str) -> SegmentNotFound:
    """The error for a name that no VAS bears."""
    return SegmentNotFound(
        f"no VAS is named {url}; vasmem.vases() lists those there are, and vasmem.Vas.create() or "
        "vasmem.Vas.open() makes one"
    )


def exists(url: str) -> SegmentExists:
    """The error for a name that is taken."""
    return SegmentExists(
        f"a VAS named {url} exists already; attach it with vasmem.Vas.attach(), or remove it first"
    )


def read_only(url: str) -> PermissionDenied:
    """The error for a change by who attached it for reading."""
    return PermissionDenied(
        f"the VAS {url} was attached for reading only; to change it attach it without readonly="
    )


class ShmSpaces:
    """VASes as files in the directory of the shm segments."""

    def create(self, name: str, *, mode: int) -> Space:
        """Make an empty one, which has its name when it has its mode."""
        with _directory(name) as (directory_fd, url):
            check_mode(mode, url)
            fd = nameless.make(directory_fd, mode, url)
            try:
                fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
                nameless.link(directory_fd, fd, _file_name(name), url)
            except BaseException as error:
                os.close(fd)
                if isinstance(error, SegmentExists):
                    raise exists(url) from None
                raise
            return ShmSpace(fd, name, url, readonly=False)

    def open(self, name: str, *, readonly: bool, owner: str | None) -> Space:
        """Open one."""
        with _directory(name) as (directory_fd, url):
            access = os.O_RDONLY if readonly else os.O_RDWR | os.O_APPEND
            flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                fd = os.open(_file_name(name), flags, dir_fd=directory_fd)
            except FileNotFoundError:
                raise not_found(url) from None
            except PermissionError:
                reason = denied(directory_fd, _file_name(name), url, readonly)
                raise reason or not_found(url) from None
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise not_found(url)
                check_owner(found, url, owner)
            except BaseException:
                os.close(fd)
                raise
            return ShmSpace(fd, name, url, readonly)

    def list(self) -> Iterator[Attributes]:
        """All of the directory."""
        with _directory() as (directory_fd, _):
            names = filter(None, map(_FILE.fullmatch, os.listdir(directory_fd)))
            for name in sorted(match[1] for match in names):
                try:
                    found = os.stat(_file_name(name), dir_fd=directory_fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield _attributes(name, found)

    def remove(self, name: str) -> None:
        """Take the name away."""
        with _directory(name) as (directory_fd, url):
            try:
                os.unlink(_file_name(name), dir_fd=directory_fd)
            except FileNotFoundError:
                raise not_found(url) from None
            except PermissionError:
                raise PermissionDenied(
                    f"only the owner of the VAS {url} or root removes it"
                ) from None


class ShmSpace:
    """A VAS in a file; fulfils `Space`."""

    def __init__(self, fd: int, name: str, url: str, readonly: bool) -> None:
        self._fd = fd
        self._name = name
        self._url = url
        self._readonly = readonly
        self._read_bytes = 0
        self._members: dict[str, bool] = {}

    def members(self) -> dict[str, bool]:
        """What the lines come to, which are read again when there are more."""
        size = os.fstat(self._fd).st_size
        if size > self._read_bytes:
            # The last may still be being written, or have been cut off by a kill.
            text, _, _ = os.pread(self._fd, size, 0).rpartition(b"\n")
            self._members = _replayed(text)
            self._read_bytes = size
        return self._members

    def bind(self, url: str, *, readonly: bool) -> None:
        """Note it."""
        self._note("add", url, readonly)

    def unbind(self, url: str) -> None:
        """Note that it is gone."""
        self._note("discard", url, False)

    def _note(self, what: str, url: str, readonly: bool) -> None:
        if self._readonly:
            raise read_only(self._url)
        # It begins with an end of line: what a killed writer left is a line of its own then.
        line = b"\n" + json.dumps([what, url, readonly]).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            if error.errno not in nameless.NO_ROOM:
                raise
            written = 0
        if written < len(line):
            raise nameless.full(self._url)

    def attributes(self) -> Attributes:
        """Of the file."""
        return _attributes(self._name, os.fstat(self._fd))

    def change(self, *, mode: int | None, uid: int, gid: int) -> None:
        """As chmod and chown do it."""
        try:
            if mode is not None:
                check_mode(mode, self._url)
                os.fchmod(self._fd, mode)
            if (uid, gid) != (-1, -1):
                os.fchown(self._fd, uid, gid)
        except PermissionError:
            owner = self.attributes().owner
            raise PermissionDenied(
                f"the VAS {self._url} belongs to {owner}; only {owner} or root changes its mode, "
                "and only root gives it away"
            ) from None

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._fd)


def _replayed(text: bytes) -> dict[str, bool]:
    members: dict[str, bool] = {}
    for line in text.split(b"\n"):
        try:
            match json.loads(line or b"null"):
                case ["add", str(url), bool(readonly)]:
                    members[url] = readonly
                case ["discard", str(url), bool()]:
                    members.pop(url, None)
        except ValueError:
            continue
    return members


def _file_name(name: str) -> str:
    return f".{name}.vasmem.vas"


def _attributes(name: str, found: os.stat_result) -> Attributes:
    mode = stat.S_IMODE(found.st_mode)
    return Attributes(name, found.st_blocks * 512, mode, user_name(found.st_uid))


@contextmanager
def _directory(name: str | None = None) -> Iterator[tuple[int, str]]:
    if name is not None:
        check_name(name, "a VAS")
    with open_directory() as directory_fd:
        yield directory_fd, f"shm://{name}"
