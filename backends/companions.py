"""The files beside a segment: their names, their permissions, and opening them."""

import os
import stat

from vasmem.backends.owners import user_name
from vasmem.errors import PermissionDenied


def lock_name(name: str, inode: int) -> str:
    """Name of the companion lock file of that segment, in the same directory."""
    return f".{name}.{inode}.vasmem.lock"


def media_name(name: str, inode: int) -> str:
    """Name of the medium of that segment if it is emulated, in the same directory."""
    return f".{name}.{inode}.vasmem.media"


def lock_mode(mode: int) -> int:
    """Permission bits of the lock file: those who may write the segment, for both.

    A reader of the segment gets none: a shared byte lock takes only read permission and would
    disturb writers.
    """
    writers = mode & 0o222
    return writers | writers << 1


def open_media(
    directory_fd: int, name: str, url: str, segment_fd: int, *, readonly: bool
) -> int | None:
    """The medium of an emulated segment, or None where it is not emulated."""
    segment = os.fstat(segment_fd)
    companion = media_name(name, segment.st_ino)
    access = os.O_RDONLY if readonly else os.O_RDWR
    denied = PermissionDenied(
        f"you may use {url} but not its medium {companion}; its owner must give both the same "
        "permissions"
    )
    return _open_companion(directory_fd, companion, url, segment, access, denied)


def open_lock(directory_fd: int, name: str, url: str, segment: os.stat_result) -> int | None:
    """The lock file of that segment, or None where there is none."""
    companion = lock_name(name, segment.st_ino)
    denied = PermissionDenied(
        f"you may write {url} but not its lock file {companion}; its owner must give both the "
        "same writers, or attach with readonly=True"
    )
    return _open_companion(directory_fd, companion, url, segment, os.O_RDWR, denied)


def _open_companion(
    directory_fd: int,
    companion: str,
    url: str,
    segment: os.stat_result,
    access: int,
    denied: PermissionDenied,
) -> int | None:
    """That companion of a segment, or None where there is none. Raises `denied`."""
    flags = access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(companion, flags, dir_fd=directory_fd)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise denied from None
    found = os.fstat(fd)
    if found.st_uid != segment.st_uid or not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise PermissionDenied(
            f"the file {companion} of {url} belongs to {user_name(found.st_uid)}, the segment "
            f"to {user_name(segment.st_uid)}: someone laid it there; remove it"
        )
    return fd
