"""Files that get their name when they are complete."""

import errno
import os

from vasmem.backends.owners import user_name
from vasmem.errors import BackendUnavailable, PermissionDenied, SegmentExists, SegmentFull

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def exists_error(url: str) -> SegmentExists:
    """The error for a name that is taken."""
    return SegmentExists(
        f"{url} exists already; attach it with vasmem.attach() or vasmem.open(), or remove it first"
    )


def full(what: str) -> SegmentFull:
    """The error for a file system without room."""
    return SegmentFull(
        f"no room for {what}: its file system has no more files or bytes to give; free some "
        "(df and df -i show it)"
    )


def make(directory_fd: int, mode: int, url: str) -> int:
    """A file of that directory without a name. Raises BackendUnavailable, SegmentFull."""
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    except PermissionError:
        raise PermissionDenied(
            f"you may not create {url}: its directory is not writable for "
            f"{user_name(os.geteuid())}; ask its owner for mode 1777, as /tmp has"
        ) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise full(url) from None
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        raise BackendUnavailable(
            f"the file system of {url} has no nameless files (O_TMPFILE); use tmpfs, ext4 or xfs"
        ) from None
    os.fchmod(fd, mode)  # the umask has no say here
    return fd


def link(directory_fd: int, fd: int, name: str, what: str) -> None:
    """Give it a name. Raises SegmentExists, SegmentFull."""
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory_fd, follow_symlinks=True)
    except FileExistsError:
        raise exists_error(what) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise full(what) from None
        raise
