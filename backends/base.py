"""The contract of a backend. `tests/contract.py` checks it for every backend there is.

A backend imports the standard library, `vasmem.errors` and `vasmem.promises`, and may ask the core
about a file. It does not know the format of a segment, and locks no bytes of it.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vasmem.promises import Promises


@dataclass(frozen=True)
class Opened:
    """Descriptors of one segment. Who receives them closes them.

    `fd` is open for reading, and for writing unless asked for read-only. `lock_fd` is the companion
    lock file, open for both; None for read-only, since readers need no locks and get none.
    `media_fd` is the companion of an emulated segment, open as `fd` is. `promises` is what this
    segment survives, where that is not what the backend says of all.
    """

    fd: int
    lock_fd: int | None
    media_fd: int | None = None
    promises: Promises | None = None

    def close(self) -> None:
        """Close all."""
        for fd in (self.fd, self.lock_fd, self.media_fd):
            if fd is not None:
                os.close(fd)


@dataclass(frozen=True)
class Attributes:
    """What a backend knows about a segment without attaching it.

    `path` is the name as the backend takes it; `size` is the bytes of the medium that it takes;
    `mode` is the permission bits; `owner` is the name of the owning user, or the uid as text where
    it has none. `note` says what is wrong with it that attaching for reading does not notice, and
    what to do; None where all is well.
    """

    path: str
    size: int
    mode: int
    owner: str
    note: str | None = None


@runtime_checkable
class Backend(Protocol):
    """Named segments of one kind of medium.

    Methods raise ValueError for a path that cannot name a segment, with the rule it breaks, and
    PermissionDenied where the system refuses. None of them leaves a descriptor open on failure.
    """

    @property
    def name(self) -> str:
        """The scheme of its URLs."""

    @property
    def promises(self) -> Promises:
        """What its segments survive, on this machine."""

    def create(self, path: str, *, mode: int, fill: Callable[[Opened], None]) -> Opened:
        """Make a new segment, all or nothing.

        `fill` gets the empty, still nameless segment and formats it. Only then the segment
        appears under its name, with exactly the permission bits `mode` whatever the umask; its
        companion file appears before it and is open only to those who may write the segment.
        A process killed in between leaves no name behind. Raises SegmentExists, and what `fill`
        raises; both leave nothing.
        """

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        """Open an existing segment.

        Accepts segments of the caller's own uid and of root; those of another user only if
        `owner` is that user's name, or "any". Descriptors belong together: both of the segment
        that bore the name at one moment. Read-only needs read permission alone.
        Raises SegmentNotFound.
        """

    def attributes(self, path: str) -> Attributes:
        """Attributes of the segment of that name. Raises SegmentNotFound."""

    def list(self) -> Iterator[Attributes]:
        """All segments that exist now, complete ones only, sorted by path."""

    def remove(self, path: str) -> None:
        """Take the name away; those who have the segment open go on. Raises SegmentNotFound."""
