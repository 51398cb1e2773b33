"""TypedBTree: a sorted mapping with keys and values of fixed numpy dtypes, inline in its leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vasmem import _core
from vasmem._arrays import describe
from vasmem.btree import BTree
from vasmem.dtypes import Type, described, ensure_types, key_parts, made_with, wanted_types
from vasmem.errors import VasmemError

if TYPE_CHECKING:
    from vasmem.segment import Segment


class TypedBTree(BTree[Any, Any]):
    """A BTree with keys and values of fixed size, such as `key="u8", value="f8"`.

    Both stand in the leaves, so it is smaller than a BTree, and ranges are read far faster.
    `get_many`, `put_many`, `delete_many` and `items_array` take and give numpy arrays and release
    the GIL. Keys are in the order of their numbers, times or bytes; records field by field, text
    by code points; NaT comes before all times. Scalars come back as Python's own, as those of
    TypedHashMap. `prefix` is for keys of dtype S; `view` is refused, since values move.

    Made by `Segment.btree` with `key` and `value`. Handles may be pickled and forked.
    """

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """Of its keys."""
        dtype: np.dtype[Any] = self.types[0].dtype
        return dtype

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Of its values."""
        dtype: np.dtype[Any] = self.types[1].dtype
        return dtype

    @property
    def descriptions(self) -> tuple[Any, Any]:
        """Its types the way numpy describes them."""
        return describe(self.key_dtype), describe(self.value_dtype)

    def get_many(  # type: ignore[override]
        self, keys: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values of all keys, in their order (0 for one that is not there), and which are there.

        Raises WrongType for keys of a dtype that does not become the tree's safely, ValueError for
        some that do not fit.
        """
        values, found = self.get_all(keys)
        return values, np.frombuffer(found, np.bool_)

    def delete_many(self, keys: ArrayLike) -> NDArray[np.bool_]:  # type: ignore[override]
        """Delete all of these keys that are there; which of them were. Raises as `get_many`."""
        return np.frombuffer(self.delete_all(keys), np.bool_)

    def __repr__(self) -> str:
        try:
            state = f"{len(self)} items"
        except VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        types = f"{self.key_dtype} to {self.value_dtype}"
        return f"<TypedBTree {self.name!r} of {types} in {self.segment.name!r}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name)


def _types_of(
    name: str, description: bytes, sizes: tuple[int, int]
) -> tuple[Type, Type, list[tuple[int, str]]]:
    key, value = described(f"B-tree {name!r}", description, sizes)
    return Type(key), Type(value), key_parts(key)


def open_typed_btree(
    segment: Segment, core: _core.Segment, name: str, types: tuple[Any, Any] | None, create: bool
) -> TypedBTree:
    """Open the typed B-tree of that name, or make it of these types; without any, those it has.

    Raises WrongType for other types than it has, KeyError.
    """
    wanted = None if types is None else wanted_types(types)
    typed = (made_with(wanted) if create else None, _types_of)
    made = TypedBTree(core, name, create, False, typed)
    made.segment = segment
    ensure_types("B-tree", made, wanted)
    return made


def _reopen(segment: Segment, name: str) -> TypedBTree:
    found: TypedBTree = segment[name]
    return found
