"""TypedHashMap: a hash map with keys and values of fixed numpy dtypes, inline in the segment."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vasmem import _core
from vasmem._arrays import describe
from vasmem.dtypes import Type, described, ensure_types, made_with, wanted_types
from vasmem.errors import VasmemError

if TYPE_CHECKING:
    from vasmem.segment import Segment

_MISSING: Any = object()


class TypedHashMap(_core.TypedMap, MutableMapping[Any, Any]):
    """A hash map with keys and values of fixed size, such as `key="u8", value="f8"`.

    Both stand in the map itself, so it is smaller and faster than a HashMap. `get_many`,
    `put_many`, `delete_many` and `items_array` take and give numpy arrays and release the GIL.
    Scalars come back as Python's own: int, float, bool, bytes in full length ("S16" is all of its
    16 bytes), records as tuples. Operations are atomic as those of HashMap; batches are so a key
    at a time.

    Made by `Segment.hashmap` with `key` and `value`. Handles may be pickled and forked.
    """

    segment: Segment

    def __init__(self, *_: Any) -> None:
        sizes = self.key_bytes, self.value_bytes
        key, value = described(f"hash map {self.name!r}", self.description, sizes)
        self._key, self._value = Type(key), Type(value)

    @property
    def descriptions(self) -> tuple[Any, Any]:
        """Its types the way numpy describes them."""
        return describe(self.key_dtype), describe(self.value_dtype)

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """Of its keys."""
        return self._key.dtype

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Of its values."""
        return self._value.dtype

    def __getitem__(self, key: Any) -> Any:
        found = self.get_bytes(self._key.pack(key))
        if found is None:
            raise KeyError(key)
        return self._value.unpack(found)

    def __contains__(self, key: object) -> bool:
        return self.get_bytes(self._key.pack(key)) is not None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put_bytes(self._key.pack(key), self._value.pack(value))

    def __delitem__(self, key: Any) -> None:
        if self.delete_bytes(self._key.pack(key)) is None:
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        for keys, _ in self._pieces():
            yield from self._scalars(self._key, keys)

    def items(self) -> ItemsView[Any, Any]:
        """Pairs of key and value, each pair as it was at one time."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values, read together with their keys."""
        return _Values(self)

    def iter_items(self) -> Iterator[tuple[Any, Any]]:
        """Iterates over pairs of key and value."""
        for keys, values in self._pieces():
            yield from zip(
                self._scalars(self._key, keys), self._scalars(self._value, values), strict=True
            )

    def get_many(self, keys: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values of all keys, in their order (0 for one that is not there), and which are there.

        Raises WrongType for keys of a dtype that does not become the map's safely, ValueError for
        some that do not fit.
        """
        values, found = self.get_all(self._key.pack_many("keys", keys).tobytes())
        return self._value.array(values), np.frombuffer(found, np.bool_)

    def put_many(self, keys: ArrayLike, values: ArrayLike) -> None:
        """Give each key its value, one commit a key. Raises as `get_many`."""
        packed = self._key.pack_many("keys", keys), self._value.pack_many("values", values)
        if len(packed[0]) != len(packed[1]):
            raise ValueError(
                f"{len(packed[0])} keys and {len(packed[1])} values: put_many needs as many of one "
                "as of the other"
            )
        self.put_all(packed[0].tobytes(), packed[1].tobytes())

    def delete_many(self, keys: ArrayLike) -> NDArray[np.bool_]:
        """Delete all of these keys that are there; which of them were. Raises as `get_many`."""
        found = self.delete_all(self._key.pack_many("keys", keys).tobytes())
        return np.frombuffer(found, np.bool_)

    def items_array(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """All keys and their values as two arrays, in no order."""
        pieces = list(self._pieces())
        keys = bytearray().join(keys for keys, _ in pieces)
        values = bytearray().join(values for _, values in pieces)
        return self._key.array(keys), self._value.array(values)

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Put the items of a mapping or of an iterable of pairs."""
        items = dict(other, **named).items()
        for key, value in items:
            self[key] = value

    def clear(self) -> None:
        """Delete every key that is there now."""
        for keys, _ in self._pieces():
            self.delete_all(bytes(keys))

    def add(self, key: Any, value: Any) -> bool:
        """Give the key this value if it is not there yet; whether it was not."""
        return self.put_if(self._key.pack(key), None, self._value.pack(value))

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of the key; if it is not there, give it `default`."""
        while (value := self.get(key, _MISSING)) is _MISSING:
            self.add(key, default)
        return value

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove the key and return the value that it had. Raises KeyError without `default`."""
        found = self.delete_bytes(self._key.pack(key))
        if found is not None:
            return self._value.unpack(found)
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove some key; the key with the value that it had. Raises KeyError when empty."""
        for key in self:
            if (value := self.pop(key, _MISSING)) is not _MISSING:
                return key, value
        raise KeyError(f"hash map {self.name!r} is empty")

    def compare_and_set(self, key: Any, old: Any, new: Any) -> bool:
        """Give the key the value `new` if its value has the bytes of `old`; whether it did."""
        packed = self._value.pack(old), self._value.pack(new)
        return self.put_if(self._key.pack(key), *packed)

    def incr(self, key: Any, by: Any = 1) -> Any:
        """Add to the number that is the value of the key, 0 if it is not there; the sum."""
        zero = self._value.unpack(bytes(self.value_bytes))
        return self.modify(key, lambda value: value + by, zero)

    def modify(self, key: Any, function: Callable[[Any], Any], default: Any = _MISSING) -> Any:
        """Give the key the value `function(value)`, and return it as the map has it.

        `function` runs again where others were faster. A missing key has `default` as its value,
        or raises KeyError.
        """
        packed = self._key.pack(key)
        while True:
            old = self.get_bytes(packed)
            if old is None and default is _MISSING:
                raise KeyError(key)
            value = default if old is None else self._value.unpack(old)
            new = self._value.pack(function(value))
            if self.put_if(packed, old, new):
                return self._value.unpack(new)

    def _pieces(self) -> Iterator[tuple[bytearray, bytearray]]:
        position: int | None = 0
        while position is not None:
            keys, values, position = self.scan(position)
            yield keys, values

    def _scalars(self, kind: Type, data: bytearray) -> Iterator[Any]:
        width = kind.dtype.itemsize
        return (kind.unpack(bytes(data[i : i + width])) for i in range(0, len(data), width))

    def __repr__(self) -> str:
        try:
            state = f"{len(self)} items"
        except VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        types = f"{self.key_dtype} to {self.value_dtype}"
        return f"<TypedHashMap {self.name!r} of {types} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name)


class _Items(ItemsView[Any, Any]):
    _mapping: TypedHashMap

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.iter_items()


class _Values(ValuesView[Any]):
    _mapping: TypedHashMap

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.iter_items())


def open_typed(
    segment: Segment, core: _core.Segment, name: str, types: tuple[Any, Any] | None, create: bool
) -> TypedHashMap:
    """Open the typed map of that name, or make it of these types; without any, those that it has.

    Raises WrongType for other types than it has, KeyError.
    """
    wanted = None if types is None else wanted_types(types)
    made = TypedHashMap(core, name, made_with(wanted) if create else None)
    made.segment = segment
    ensure_types("hash map", made, wanted)
    return made


def _reopen(segment: Segment, name: str) -> TypedHashMap:
    found: TypedHashMap = segment[name]
    return found
