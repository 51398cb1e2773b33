"""Set: a mutable set that lives in a segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from vasmem import _core
from vasmem.batches import BATCH, batched

if TYPE_CHECKING:
    from vasmem.segment import Segment

K = TypeVar("K")


class Set(_core.Set[K], MutableSet[K]):
    """A set shared by everyone who attached its segment; use it as you would a set.

    Its keys are those of a hash map. `add` returns None as that of set does; `add_new` tells
    whether the key was new, which is asked and done as one, so that of many who try only one is
    told so. `remove`, which raises KeyError, and `pop` look and change as one, too.

    `update`, `|=`, `&=`, `-=`, `^=`, `clear`, `add_many` and `discard_many` go a key at a time; put
    them into `with segment.transaction():` to make them one. `|`, `&`, `-` and `^` make a set of
    the process's own. Iteration is weakly consistent, as that of a hash map.

    Made by `Segment.set`. Handles may be pickled, forked and used by several threads.
    """

    segment: Segment

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)

    def update(self, *others: Iterable[K]) -> None:
        """Add all keys of these."""
        for keys in batched(chain.from_iterable(others), BATCH):
            self.add_many(keys)

    def clear(self) -> None:
        """Remove every key that is there now; those that others add meanwhile may stay."""
        self._discard_all(iter(self))

    def __ior__(self, other: AbstractSet[Any]) -> Set[K]:  # type: ignore[misc]
        self.update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Set[K]:
        self._discard_all(iter(self) if other is self else iter(other))
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Set[K]:
        self._discard_all(key for key in self if key not in other)
        return self

    def _discard_all(self, keys: Iterator[Any]) -> None:
        for batch in batched(keys, BATCH):
            self.discard_many(batch)

    def __repr__(self) -> str:
        try:
            state = f"{len(self)} keys"
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<Set {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name, self.raw)


def _reopen(segment: Segment, name: str, raw: bool) -> Set[Any]:
    return segment.set(name, raw=raw, create=False)
