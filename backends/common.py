"""Segments that are files of one directory: what the backends over a file system share.

A segment NAME with inode number N has the companion lock file `.NAME.N.vasmem.lock`. The number
pairs them for good: an inode is not used again while anyone has the segment open, so whoever opened
the segment finds its own lock file or none, never that of a later segment of the same name.

An emulated segment has a medium beside it, `.NAME.N.vasmem.media`, that comes after the lock file
and goes before it.

The files are made nameless and linked when complete, the lock file first. While it has a name and
the segment has none yet, its creator holds a flock on it; without that flock it is the leftover of
a process that was killed, and `sweep` takes it away.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace

from vasmem.backends import companions, copies, nameless
from vasmem.backends.base import Attributes, Opened
from vasmem.backends.owners import check_owner, denied, user_name
from vasmem.errors import (
    BackendUnavailable,
    FormatMismatch,
    PermissionDenied,
    SegmentNotFound,
)

# With the companion's prefix and suffix around it a name still fits into the 255 bytes of a file.
NAME_BYTES_MAX = 200
DIRECTORY_MODE = 0o1777
_LOCK_NAME = re.compile(r"\.(.+)\.(\d+)\.vasmem\.lock", re.DOTALL)
# A name may come and go between two looks at it; who meets that more often than this gives up.
_TRIES_MAX = 100


def create(
    directory_fd: int,
    name: str,
    url: str,
    *,
    mode: int,
    fill: Callable[[Opened], None],
    emulated: bool = False,
) -> Opened:
    """Make a segment and its companions nameless, fill it, and give them all their names."""
    check_mode(mode, url)
    sweep(directory_fd)
    if _inode(directory_fd, name) is not None:
        raise nameless.exists_error(url)
    made = Opened(nameless.make(directory_fd, mode, url), None)
    try:
        lock_fd = nameless.make(directory_fd, companions.lock_mode(mode), url)
        made = replace(made, lock_fd=lock_fd)
        if emulated:
            made = replace(made, media_fd=nameless.make(directory_fd, mode, url))
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        fill(made)
        _link_all(directory_fd, name, url, made)
        fcntl.flock(lock_fd, fcntl.LOCK_UN)
        return made
    except BaseException:
        made.close()
        raise


def check_mode(mode: int, url: str) -> None:
    """Raise ValueError unless a segment can have these permission bits."""
    if mode & ~0o666 or mode & 0o600 != 0o600:
        raise ValueError(
            f"mode {mode:#o} of {url} is not possible: a segment is never executable and its "
            "owner always reads and writes it, as in 0o600, 0o640, 0o660"
        )


def _link_all(directory_fd: int, name: str, url: str, made: Opened) -> None:
    """Give a complete segment its names, its own at last; or none at all."""
    inode = os.fstat(made.fd).st_ino
    files = [
        (made.lock_fd, companions.lock_name(name, inode)),
        (made.media_fd, companions.media_name(name, inode)),
    ]
    linked: list[str] = []
    try:
        for fd, companion in files:
            if fd is not None:
                nameless.link(directory_fd, fd, companion, f"the file {companion} of {url}")
                linked.append(companion)
        nameless.link(directory_fd, made.fd, name, url)
    except BaseException:
        for companion in reversed(linked):
            os.unlink(companion, dir_fd=directory_fd)
        raise


def open_pair(
    directory_fd: int, name: str, url: str, *, readonly: bool, owner: str | None
) -> Opened:
    """Open a segment and, for writers, its lock file."""
    for _ in range(_TRIES_MAX):
        fd = _open_segment(directory_fd, name, url, readonly)
        try:
            found = os.fstat(fd)
            _check_kind(found, url)
            check_owner(found, url, owner)
            if readonly:
                return Opened(fd, None)
            lock_fd = companions.open_lock(directory_fd, name, url, found)
            if lock_fd is not None:
                return Opened(fd, lock_fd)
            if _inode(directory_fd, name) == found.st_ino:
                copies.adopt(directory_fd, name, url, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise not_found(url)


def attributes(directory_fd: int, name: str, url: str) -> Attributes:
    """Attributes of the segment of that name."""
    try:
        found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        raise not_found(url) from None
    _check_kind(found, url)
    note = None
    companion = companions.lock_name(name, found.st_ino)
    missing = _inode(directory_fd, companion) is None
    if missing and _inode(directory_fd, name) == found.st_ino:
        note = (
            f"has no lock file {companion}: attaching it for writing makes one if it was copied "
            "here; otherwise save its data with dump, then remove it"
        )
    size_bytes = found.st_blocks * 512
    mode, owner = stat.S_IMODE(found.st_mode), user_name(found.st_uid)
    return Attributes(name, size_bytes, mode, owner, note)


def check_directory(directory_fd: int, where: str, others: int) -> None:
    """Refuse a directory in which those of the permission bits `others` could swap segments."""
    found = os.fstat(directory_fd)
    mode = stat.S_IMODE(found.st_mode)
    if mode & others and not mode & stat.S_ISVTX:
        raise BackendUnavailable(
            f"anyone could swap segments in {where}: it is writable for others and not sticky; "
            f"say `chmod {DIRECTORY_MODE:o} {where}`"
        )


def listing(directory_fd: int, *, locked_only: bool = False) -> Iterator[Attributes]:
    """Attributes of every segment in the directory, sorted by name.

    With `locked_only`, for a directory with other files in it, only what has a lock file.
    """
    sweep(directory_fd)
    names = os.listdir(directory_fd)
    matches = filter(None, map(_LOCK_NAME.fullmatch, names))
    locked = {(match[1], int(match[2])) for match in matches}
    for name in sorted(names):
        if name.startswith("."):
            continue
        if locked_only and (name, _inode(directory_fd, name)) not in locked:
            continue
        try:
            yield attributes(directory_fd, name, name)
        except (SegmentNotFound, FormatMismatch):
            continue


def remove(directory_fd: int, name: str, url: str) -> None:
    """Unlink the segment, then its lock file: at no moment does a name stand without its lock."""
    inode = _inode(directory_fd, name)
    if inode is None:
        raise not_found(url)
    try:
        _check_kind(os.stat(name, dir_fd=directory_fd, follow_symlinks=False), url)
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        raise not_found(url) from None
    except PermissionError:
        found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        raise PermissionDenied(
            f"{url} belongs to {user_name(found.st_uid)}; only its owner or root can remove it"
        ) from None
    _unlink_quietly(directory_fd, companions.media_name(name, inode))
    _unlink_quietly(directory_fd, companions.lock_name(name, inode))


def sweep(directory_fd: int) -> None:
    """Remove companions whose segment has no name and whose creator is dead."""
    for companion in os.listdir(directory_fd):
        match = _LOCK_NAME.fullmatch(companion)
        if match is None or _inode(directory_fd, match[1]) == int(match[2]):
            continue
        try:
            fd = os.open(companion, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)
        except OSError:  # gone by now, or another user's to clean
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Again under the lock: its creator may have finished since the first look.
            if _inode(directory_fd, match[1]) != int(match[2]):
                _unlink_quietly(directory_fd, companions.media_name(match[1], int(match[2])))
                _unlink_quietly(directory_fd, companion)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def not_found(url: str) -> SegmentNotFound:
    """The error for a name that no segment bears."""
    return SegmentNotFound(
        f"no segment is named {url}; vasmem.segments() lists those there are, and vasmem.create() "
        "or vasmem.open() makes one"
    )


def _inode(directory_fd: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _open_segment(directory_fd: int, name: str, url: str, readonly: bool) -> int:
    access = os.O_RDONLY if readonly else os.O_RDWR
    # O_NONBLOCK: a FIFO of that name must not block us; it has no effect on a regular file.
    flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=directory_fd)
    except FileNotFoundError:
        raise not_found(url) from None
    except PermissionError:
        raise denied(directory_fd, name, url, readonly) or not_found(url) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _wrong_kind(url) from None
        raise


def _check_kind(found: os.stat_result, url: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _wrong_kind(url)


def _wrong_kind(url: str) -> FormatMismatch:
    return FormatMismatch(f"{url} is not a segment but a directory, link or device; remove it")


def _unlink_quietly(directory_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory_fd)
    except (FileNotFoundError, PermissionError):
        return
