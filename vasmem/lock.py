"""Lock: a lock between processes that outlives whoever has it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from vasmem import _core

if TYPE_CHECKING:
    from vasmem.segment import Segment


class Lock(_core.Lock):
    """A lock of a thread of one process against all others: `with segment.lock("name"):`.

    `acquire(blocking=True, timeout=None)` takes it. Without a timeout, and in `with`, it waits for
    `segment.timeout` seconds and raises LockTimeout, which names the holder; with one it returns
    False when the time is up, and -1 waits without an end. It cannot be taken twice. Only the
    thread that took it can `release` it; a forked child does not have its parent's locks. Neither
    works inside a transaction.

    A holder that is killed, or closes the segment, loses it to the next one; for that one
    `abandoned` is true as long as it has the lock (as WAIT_ABANDONED and EOWNERDEAD tell it
    elsewhere): what the lock guards may be half done. A thread that ends leaves it to its process.

    `locked()` tells whether somebody has it who is alive, `holder` is that one's pid and command.

    Made by `Segment.lock`. Handles may be pickled, forked and used by several threads.
    """

    segment: Segment

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        try:
            holder = self.holder
            state = f"held by process {holder[0]}" if holder else "free"
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<Lock {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name)


def _reopen(segment: Segment, name: str) -> Lock:
    return segment.lock(name, create=False)
