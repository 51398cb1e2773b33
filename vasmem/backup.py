"""Restoring a segment from a copy of its file."""

from __future__ import annotations

import errno
import os

from vasmem import _core
from vasmem.backends import Opened
from vasmem.errors import SegmentFull
from vasmem.opening import MODE, attach, find
from vasmem.segment import Segment

_PIECE_BYTES = 1 << 20


def restore(path: str | os.PathLike[str], name: str, *, mode: int = MODE) -> Segment:
    """Make a segment called `name` of a copy of a segment's file, and attach it.

    The copy must have been made while nobody wrote. It stays as it is. Raises SegmentExists,
    FormatMismatch and SegmentCorrupted for a file that is no sound segment, SegmentFull, and
    FileNotFoundError; nothing is made then.
    """
    target, backend, _ = find(name)
    source_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:

        def fill(made: Opened) -> None:
            _copy(source_fd, made.fd, target.url)
            check = _core.Segment(
                made.fd,
                made.lock_fd,
                name=target.url,
                readonly=False,
                flush=backend.promises.flush,
                marked=backend.promises.marked,
                huge=False,
                media_fd=made.media_fd,
            )
            check.close()
            os.fsync(made.fd)  # its mark may say already that all is on the medium

        backend.create(target.path, mode=mode, fill=fill).close()
    finally:
        os.close(source_fd)
    return attach(name)


def _copy(source_fd: int, target_fd: int, url: str) -> None:
    """Copy all bytes; every byte gets space of its own, since a hole could not be filled later."""
    size_bytes = os.fstat(source_fd).st_size
    try:
        if size_bytes:
            os.posix_fallocate(target_fd, 0, size_bytes)
        at = 0
        while at < size_bytes:
            try:
                at = os.lseek(source_fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole to the end
                    return
                raise
            end = os.lseek(source_fd, at, os.SEEK_HOLE)
            while at < end and (piece := os.pread(source_fd, min(_PIECE_BYTES, end - at), at)):
                at += os.pwrite(target_fd, piece, at)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise SegmentFull(
            f"no room for the {size_bytes} bytes of {url} where it should be (df shows how much is "
            "free): free some, or restore it elsewhere"
        ) from None
