"""HashMap: a mutable mapping that lives in a segment."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from vasmem import _core

if TYPE_CHECKING:
    from vasmem.segment import Segment

K = TypeVar("K")
V = TypeVar("V")


class HashMap(_core.HashMap[K, V], MutableMapping[K, V]):
    """A hash map shared by everyone who attached its segment; use it as you would a dict.

    Each operation is atomic, visible to all at once, and survives a killed process. Iteration
    never raises because others write: it sees each key that was there all the time exactly once,
    and may or may not see those that came or went meanwhile; `len` is exact while nobody writes.
    What MutableMapping builds from several operations (`pop`, `setdefault`, `update`, `clear`)
    is not atomic as a whole; put it into `with segment.transaction():` to make it so.

    Made by `Segment.hashmap`. Handles may be pickled, forked and used by several threads.
    """

    # The operations are native slots inherited from _core.HashMap: no Python frame on the way.

    segment: Segment

    def __repr__(self) -> str:
        return f"<HashMap {self.name!r} in {self.segment.name!r}, {len(self)} items>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name, self.raw)


def _reopen(segment: Segment, name: str, raw: bool) -> HashMap[Any, Any]:
    return segment.hashmap(name, raw=raw, create=False)
