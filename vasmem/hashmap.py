"""HashMap: a mutable mapping that lives in a segment."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

from vasmem import _core
from vasmem.batches import BATCH, batched, pairs_of

if TYPE_CHECKING:
    from vasmem.segment import Segment

K = TypeVar("K")
V = TypeVar("V")


class HashMap(_core.HashMap[K, V], MutableMapping[K, V]):
    """A hash map shared by everyone who attached its segment; use it as you would a dict.

    Each operation is atomic, visible to all at once, and survives a killed process. Iteration
    never raises because others write: it sees each key that was there all the time, and may or
    may not see those that came or went meanwhile; `len` is exact while nobody writes.
    `add`, `setdefault`, `pop`, `popitem`, `incr`, `compare_and_set` and `modify` look and change as
    one. What takes many keys (`update`, `clear`, `put_many`, `delete_many`) does so a key at a
    time; put it into `with segment.transaction():` to make it one.

    `view` shows a value of bytes where it is, without a copy.

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

    def update(self, other: Any = (), /, **named: V) -> None:
        """Put the items of a mapping or of an iterable of pairs, then those of the keywords."""
        for keys, values in pairs_of(other, named, BATCH):
            self.put_many(keys, values)

    def clear(self) -> None:
        """Delete every key that is there now; those that others add meanwhile may stay."""
        for keys in batched(self, BATCH):
            self.delete_many(keys)

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
