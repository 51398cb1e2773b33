"""Queue: items that processes hand to each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from vasmem import _core

if TYPE_CHECKING:
    from vasmem.segment import Segment

T = TypeVar("T")


class Queue(_core.Queue[T]):
    """A bounded queue of values, first in, first out, for any number of producers and consumers.

    Methods and exceptions are those of queue.Queue: `put`, `get`, `task_done`, `queue.Full`,
    `queue.Empty`. `put_many` and `get_many` take many at a time, as many as there are or fit.

    A killed consumer's item is not lost, unless it was taken with `ack=False`:

    | taken by                        | removed by          | consumer killed | exception   |
    |---------------------------------|---------------------|-----------------|-------------|
    | `with queue.take() as item:`    | end of the block    | others get it   | given back  |
    | `get()`                         | `task_done()`       | others get it   | stays taken |
    | `get(ack=False)`                | `get` itself        | lost            | lost        |
    | the same inside a transaction   | its commit          | others get it   | given back  |

    `task_done()` ends the oldest lease of its thread; `give_back()` gives that item back.

    An item that was given back, or whose consumer was killed or closed the segment, is the next
    one for anybody. `task_done()` inside `with segment.transaction():` makes the end of the lease
    and what came of the item one, so that it counts exactly once.

    Inside a transaction `put`, `get(ack=False)` and `task_done` belong to it, and none of them
    waits. Items on lease do not count for `maxsize`; there can be 448 of them at a time.

    Made by `Segment.queue`. Handles may be pickled, forked and used by several threads.
    """

    segment: Segment

    def put_nowait(self, item: T) -> None:
        """Put an item if there is room, or raise queue.Full."""
        self.put(item, False)

    def get_nowait(self, *, ack: bool = True) -> T:
        """Take an item if there is one, or raise queue.Empty."""
        return self.get(False, ack=ack)

    @contextmanager
    def take(self, block: bool = True, timeout: float | None = None) -> Iterator[T]:
        """An item for as long as the block lasts; an exception inside gives it back."""
        item, lease = self.lease(block, timeout)
        try:
            yield item
        except BaseException:
            self.give_back(lease)
            raise
        self.done(lease)

    def task_done(self) -> None:
        """End the oldest lease of this thread: its item is gone. Raises ValueError without one."""
        if not self.done():
            raise ValueError(
                f"task_done(): this thread has no item of queue {self.name!r} on lease"
            )

    def empty(self) -> bool:
        """Whether no item waits."""
        return self.qsize() == 0

    def __repr__(self) -> str:
        try:
            state = f"{self.qsize()} of {self.maxsize} items, {self.leased} on lease"
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<Queue {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name, self.raw)


def _reopen(segment: Segment, name: str, raw: bool) -> Queue[Any]:
    return segment.queue(name, raw=raw, create=False)
