"""BTree: a sorted mutable mapping that lives in a segment."""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterator,
    KeysView,
    MutableMapping,
    Sequence,
    ValuesView,
)
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from vasmem import _core
from vasmem.batches import pairs_of

if TYPE_CHECKING:
    from vasmem.segment import Segment

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
# Items that `update` hands over at a time: enough for whole leaves where they are sorted.
BATCH = 20_000
_What = Literal["keys", "values", "items"]


class BTree(_core.BTree[K, V], MutableMapping[K, V]):
    """A sorted mapping shared by everyone who attached its segment.

    Use it as you would a `sortedcontainers.SortedDict`, whose names it has. Keys are in order of
    None, numbers, str, bytes, tuples; within each as Python compares them.

    Each operation on a key is atomic, visible to all at once, and survives a killed process.
    Iteration and cursors never raise because others write: a key that is there all the time comes
    exactly once and in order, keys that come or go meanwhile may or may not; `len` is exact while
    nobody writes. `add`, `setdefault`, `pop`, `popitem`, `incr`, `compare_and_set` and `modify`
    look and change as one. `update` and `put_many` build whole leaves at a time where many of
    their keys are neighbours; put them into `with segment.transaction():` to make them one.

    What takes or gives an index (`peekitem`, `bisect`, slices of views) counts the keys of the
    leaves before it, one step for each fifty keys or so; the first and the last item take none.

    Made by `Segment.btree`. Handles may be pickled, forked and used by several threads.
    """

    # The operations are native slots inherited from _core.BTree: no Python frame on the way.

    segment: Segment

    def keys(self) -> SortedKeysView[K]:
        """The keys in order, as a set and as a sequence."""
        return SortedKeysView(self)

    def items(self) -> SortedItemsView[K, V]:
        """Pairs of key and value in order of the keys, each pair as it was at one time."""
        return SortedItemsView(self)

    def values(self) -> SortedValuesView[V]:
        """The values in order of their keys."""
        return SortedValuesView(self)

    def __reversed__(self) -> Iterator[K]:
        return self.iter_range("keys", None, None, (True, True), True)

    def irange(
        self,
        minimum: K | None = None,
        maximum: K | None = None,
        inclusive: tuple[bool, bool] = (True, True),
        reverse: bool = False,
    ) -> Iterator[K]:
        """Iterate over the keys from `minimum` to `maximum`; None is no bound.

        `inclusive` tells for each whether it belongs to them. `items().irange` and
        `values().irange` take the same and give items and values.
        """
        return self.iter_range("keys", minimum, maximum, inclusive, reverse)

    def islice(
        self, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[K]:
        """Iterate over the keys at the indices from `start` to before `stop`, as in a slice."""
        return self.keys().islice(start, stop, reverse)

    def prefix(self, key: K, reverse: bool = False) -> Iterator[K]:
        """Iterate over the keys that begin with `key`: a str, bytes, or the items of a tuple.

        `items().prefix` and `values().prefix` give items and values.
        """
        return self.iter_prefix("keys", key, reverse)

    def bisect(self, key: K, /) -> int:
        """The same as `bisect_right`."""
        return self.bisect_right(key)

    def index(self, key: K, start: int | None = None, stop: int | None = None) -> int:
        """The index of a key that is there, between `start` and `stop`; raises ValueError."""
        if key in self:
            index = self.bisect_left(key)
            if (start is None and stop is None) or index in _indices(self, start, stop):
                return index
        raise ValueError(f"{key!r} is not in {self!r}, or not between {start} and {stop}")

    def update(self, other: Any = (), /, **named: V) -> None:
        """Put the items of a mapping or of an iterable of pairs, then those of the keywords."""
        for keys, values in pairs_of(other, named, BATCH):
            self.put_many(keys, values)

    # That of MutableMapping would take one item after the other.
    clear = _core.BTree.clear

    def copy(self) -> NoReturn:
        """Refused with TypeError: a tree is where its segment is, under one name."""
        raise TypeError(
            "a B-tree has no copy: use dict(tree), or make another tree and update() it"
        )

    @classmethod
    def fromkeys(cls, *_: Any) -> NoReturn:
        """Refused with TypeError: a tree is made in a segment."""
        raise TypeError(
            "B-trees are made by segment.btree(name): then update(dict.fromkeys(iterable, value))"
        )

    def __or__(self, other: object) -> NoReturn:
        raise TypeError(
            "tree | other would need a place for a new tree: use dict(tree) | other, or update()"
        )

    __ror__ = __or__

    def __ior__(self, other: Any) -> BTree[K, V]:  # type: ignore[misc]
        self.update(other)
        return self

    def __repr__(self) -> str:
        try:
            state = f"{len(self)} items"
        except _core.VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<BTree {self.name!r} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name, self.raw)


def _indices(tree: BTree[Any, Any], start: int | None, stop: int | None) -> range:
    return range(*slice(start, stop).indices(len(tree)))


class _SortedView(Sequence[T]):
    """What the views have in common: a sequence in the order of the keys."""

    _mapping: BTree[Any, Any]
    _what: _What

    def __len__(self) -> int:
        return len(self._mapping)

    def __iter__(self) -> Iterator[T]:
        return self.irange()

    def __reversed__(self) -> Iterator[T]:
        return self.irange(reverse=True)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if not isinstance(index, slice):
            part: T = self._part(self._mapping.peekitem(index))
            return part
        steps = range(*index.indices(len(self)))
        if not steps:
            return []
        low, high = min(steps[0], steps[-1]), max(steps[0], steps[-1])
        reverse = steps.step < 0
        found = self._mapping.iter_slice(self._what, low, high + 1, reverse)
        return list(found)[:: abs(steps.step)]

    def _part(self, item: tuple[Any, Any]) -> Any:
        return item

    def irange(
        self,
        minimum: Any = None,
        maximum: Any = None,
        inclusive: tuple[bool, bool] = (True, True),
        reverse: bool = False,
    ) -> Iterator[T]:
        """As `BTree.irange`."""
        return self._mapping.iter_range(self._what, minimum, maximum, inclusive, reverse)

    def islice(
        self, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[T]:
        """As `BTree.islice`."""
        steps = _indices(self._mapping, start, stop)
        return self._mapping.iter_slice(self._what, steps.start, steps.stop, reverse)

    def prefix(self, key: Any, reverse: bool = False) -> Iterator[T]:
        """As `BTree.prefix`."""
        return self._mapping.iter_prefix(self._what, key, reverse)


class SortedKeysView(_SortedView[K], KeysView[K]):
    """The keys of a BTree: a set, and a sequence with indices and slices."""

    _what: _What = "keys"

    def _part(self, item: tuple[K, Any]) -> K:
        return item[0]

    def count(self, value: Any) -> int:
        """1 if the key is there, else 0."""
        return int(value in self)

    def index(self, value: Any, start: int | None = 0, stop: int | None = None) -> int:
        """As `BTree.index`."""
        return self._mapping.index(value, start, stop)

    __iter__ = _SortedView.__iter__


class SortedItemsView(_SortedView[tuple[K, V]], ItemsView[K, V]):
    """The items of a BTree in order of their keys: a set, and a sequence."""

    _what: _What = "items"

    __iter__ = _SortedView.__iter__

    def __contains__(self, item: object) -> bool:
        match item:
            case (key, value) if key in self._mapping:
                return bool(self._mapping.get(key) == value)
        return False


class SortedValuesView(_SortedView[V], ValuesView[V]):
    """The values of a BTree in order of their keys, as a sequence."""

    _what: _What = "values"

    def _part(self, item: tuple[Any, V]) -> V:
        return item[1]

    __iter__ = _SortedView.__iter__


def _reopen(segment: Segment, name: str, raw: bool) -> BTree[Any, Any]:
    return segment.btree(name, raw=raw, create=False)
