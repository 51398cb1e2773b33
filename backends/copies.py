"""Segments that were copied here: the companions that they lack."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from vasmem import _core
from vasmem.backends import companions, nameless
from vasmem.backends.owners import user_name
from vasmem.errors import FormatMismatch, PermissionDenied, SegmentExists


def add_media(
    directory_fd: int, name: str, url: str, segment_fd: int, fill: Callable[[int], None]
) -> None:
    """Give a segment that was copied here a medium of its own, filled before it has a name."""
    segment = os.fstat(segment_fd)
    companion = companions.media_name(name, segment.st_ino)
    _add(directory_fd, companion, url, segment, stat.S_IMODE(segment.st_mode), fill)


def adopt(directory_fd: int, name: str, url: str, fd: int) -> None:
    """Give a segment that was copied here a lock file. Raises FormatMismatch if it was not."""
    segment = os.fstat(fd)
    companion = companions.lock_name(name, segment.st_ino)
    try:
        was_copied = _core.adopt(fd, url)
    except OSError as error:
        if error.errno in nameless.NO_ROOM:
            raise nameless.full(url) from None
        raise
    if not was_copied:
        raise FormatMismatch(
            f"{url} has lost its lock file {companion}, so nobody can write it safely; attach it "
            "with readonly=True to save the data, then remove it"
        )
    mode = companions.lock_mode(stat.S_IMODE(segment.st_mode))
    _add(directory_fd, companion, url, segment, mode, lambda _: None)


def _add(
    directory_fd: int,
    companion: str,
    url: str,
    segment: os.stat_result,
    mode: int,
    fill: Callable[[int], None],
) -> None:
    """Make a companion, owned as the segment is, unless another process was faster."""
    fd = nameless.make(directory_fd, mode, url)
    try:
        fill(fd)
        try:
            os.fchown(fd, segment.st_uid, segment.st_gid)
        except PermissionError:
            raise PermissionDenied(
                f"{url} was copied here; {user_name(segment.st_uid)}, its owner, must be the first "
                "to attach it"
            ) from None
        with suppress(SegmentExists):
            nameless.link(directory_fd, fd, companion, f"the file {companion} of {url}")
    finally:
        os.close(fd)
