"""HashMap: a mutable mapping that lives in a segment."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

from vasmem import _core

if TYPE_CHECKING:
    from vasmem.segment import Segment

K = TypeVar("K")
V = TypeVar("V")


class HashMap(_core.HashMap[K, V], MutableMapping[K, V]):
    """A hash map shared by everyone who attached its segment; use it as you would a dict.

    Each operation is atomic, visible to all at once, and survives a killed process. Iteration
    never raises because others write: it sees each key that was there all the time, and may or
    may not see those that came or went meanwhile; `len` is exact while nobody writes.
    What MutableMapping builds from several operations (`pop`, `popitem`, `setdefault`, `update`,
    `clear`) is not atomic as a whole; put it into `with segment.transaction():` to make it so.

    Made by `Segment.hashmap`. Handles may be pickled, forked and used by several threads.
    """

    # The operations are native slots inherited from _core.HashMap: no Python frame on the way.

    segment: Segment

    def items(self) -> ItemsView[K, V]:
        """Pairs of key and value, each pair as it was at one time."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The values, read together with their keys."""
        return _Values(self)

    def clear(self) -> None:
        """Delete every key that is there now; those that others add meanwhile may stay."""
        for key in self:
            try:
                del self[key]
            except KeyError:  # someone else was faster
                continue

    def __repr__(self) -> str:
        try:
            state = f"{len(self)} items"
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<HashMap {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name, self.raw)


# Those of MutableMapping would look each key up again, and find it gone now and then.
class _Items(ItemsView[K, V]):
    _mapping: HashMap[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping.iter_items()


class _Values(ValuesView[V]):
    _mapping: HashMap[Any, V]

    def __iter__(self) -> Iterator[V]:
        return self._mapping.iter_values()


def _reopen(segment: Segment, name: str, raw: bool) -> HashMap[Any, Any]:
    return segment.hashmap(name, raw=raw, create=False)
