"""Counter: a number that several processes count with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vasmem import _core

if TYPE_CHECKING:
    from vasmem.segment import Segment


class Counter(_core.Counter):
    """An int of 64 bits in a segment, 0 at first.

    `incr` and `decr` add and subtract, and return what came of it; `compare_and_set` sets the
    number if it is the expected one. Each looks and changes as one. What does not fit into 64 bits
    raises OverflowError and changes nothing. `value` and `int()` read it; compare that.

    Made by `Segment.counter`. Handles may be pickled, forked and used by several threads.
    """

    segment: Segment

    def __repr__(self) -> str:
        try:
            state = str(self.value)
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<Counter {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name)


def _reopen(segment: Segment, name: str) -> Counter:
    return segment.counter(name, create=False)
