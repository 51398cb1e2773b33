"""Ground for experiments: small segments in memory of this process, with no name."""

from __future__ import annotations

import os

from vasmem import _core
from vasmem.names import parse_name
from vasmem.promises import Promises
from vasmem.segment import Segment
from vasmem.sizes import parse_size

PROMISES = Promises(kill=True, power=True, flush=True, emulated=True)
# It may become so many times as large as it is made.
GROWTH = 16


class Ground:
    """Two memory files that play a segment and its lock file; they go when nobody has them open.

    The medium asks for flushes, as persistent memory does. Nothing about a segment that is made
    here is random, so the same operations leave the same bytes but for process ids.
    """

    def __init__(self, name: str = "lab") -> None:
        self._target = parse_name(f"dax:///lab/{name}")
        self.fd = os.memfd_create("vasmem-lab")
        self.lock_fd = os.memfd_create("vasmem-lab-lock")

    @classmethod
    def made(cls, size: int | str, max_size: int | str | None = None, seed: int = 1) -> Ground:
        """One with a fresh segment of that size."""
        ground = cls()
        size_bytes = parse_size(size)
        max_bytes = parse_size(max_size) if max_size is not None else size_bytes * GROWTH
        _core.Segment.format(
            ground.fd,
            name="lab",
            size=size_bytes,
            max_size=max_bytes,
            flush=True,
            marked=False,
            huge=False,
            small=seed,
        )
        return ground

    @classmethod
    def holding(cls, data: bytes) -> Ground:
        """One with these bytes."""
        ground = cls()
        os.ftruncate(ground.fd, len(data))
        # Pages of zeros stay holes.
        for at in range(0, len(data), 4096):
            page = data[at : at + 4096]
            if page.strip(b"\0"):
                os.pwrite(ground.fd, page, at)
        return ground

    def attach(self, tape: _core.Tape | None = None) -> Segment:
        """Attach its segment for writing, which recovers it; `tape` records that too."""
        core = _core.Segment(
            self.fd,
            self.lock_fd,
            name=str(self._target),
            readonly=False,
            flush=True,
            marked=False,
            huge=False,
            tape=tape,
        )
        return Segment(self._target, core, PROMISES)

    def read(self) -> bytes:
        """All bytes of its segment."""
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0)

    def close(self) -> None:
        """Give the files back."""
        for fd in (self.fd, self.lock_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.lock_fd = -1

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
