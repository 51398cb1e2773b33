"""Array: a numpy array in a segment, of any shape and fixed-size dtype, that can grow."""

from __future__ import annotations

import ast
import math
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vasmem import _core
from vasmem._arrays import describe, dtype_of
from vasmem.errors import SegmentCorrupted, VasmemError, WrongType
from vasmem.rows import assigned, packed, reach

if TYPE_CHECKING:
    from vasmem.segment import Segment

# Axes that numpy has, at most.
_AXES_MAX = 32
_DESCRIPTION_BYTES_MAX = 1 << 16
_ITERATED_BYTES = 1 << 16


class Array(_core.Array):
    """A numpy array in a segment, whose first axis can grow.

    `view` is a real ndarray over the segment's own memory: as fast as any, and what is written
    through it are plain stores, which others see at once, and half of them after a kill. Reading
    and assigning through this handle, by any index that numpy takes, is different: a read gives a
    copy of what was so at one time, an assignment is there whole or not at all, and so in
    transactions. Only those of handles are kept apart: what is stored through views meanwhile may
    be read half, and lost where an assignment changes bytes of the same 8 aligned ones.

    `append`, `extend` and `resize` change the first axis. Rows that there is no room for behind
    the others move; so do all rows where one assignment changes more than 4 MiB. A view stays
    valid then, with what was there before: `stale` tells. Rows are aligned to 64 bytes.

    numpy's functions take a handle for its `view`; `==` compares a copy with numpy's `==`. Made by
    `Segment.array`. Handles may be pickled, forked and used by several threads; in a forked child
    take a new view.
    """

    segment: Segment

    def __init__(self, *_: Any) -> None:
        self._dtype, self._trailing = self._described()
        # Without fields, between which there may be bytes that are this process's alone.
        self._is_plain = self._dtype.names is None
        self._row_bytes = self.row_bytes
        self._cached: weakref.ref[NDArray[Any]] | None = None
        self._viewed: tuple[int, int, int] | None = None

    def _described(self) -> tuple[np.dtype[Any], tuple[int, ...]]:
        text = self.description
        try:
            if len(text) > _DESCRIPTION_BYTES_MAX:
                raise ValueError
            description, trailing = ast.literal_eval(text.decode())
            dtype = dtype_of(description)
            good = type(trailing) is tuple and len(trailing) < _AXES_MAX
            good = good and all(type(size) is int and size > 0 for size in trailing)
            if not good or dtype.itemsize * math.prod(trailing) != self.row_bytes:
                raise ValueError
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError):
            raise SegmentCorrupted(
                f"invariant 17 (Array) is broken: the dtype of array {self.name!r} is damaged: "
                "save the segment with vasmem.salvage"
            ) from None
        return dtype, trailing

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its items."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Items along each axis; the first changes."""
        return (len(self), *self._trailing)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + len(self._trailing)

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return len(self) * self.row_bytes

    @property
    def view(self) -> NDArray[Any]:
        """The array where it is, without a copy; it stays valid when the segment is closed.

        On a read-only attachment, and in a transaction, it is a copy that cannot be written; with
        `guard` it cannot be written either.
        """
        cached = self._cached() if self._cached is not None else None
        if cached is not None and self._viewed == (*self.place(), os.getpid()):
            return cached
        found = self.pinned()
        if found is None:
            self._viewed = (*self.place(), os.getpid())
            copy = self.read()
            copy.flags.writeable = False
            return copy
        block, at, length = found
        view: NDArray[Any] = np.ndarray(
            (length, *self._trailing), self._dtype, memoryview(cast(Any, block))
        )
        self._cached, self._viewed = weakref.ref(view), (at, length, os.getpid())
        return view

    @property
    def stale(self) -> bool:
        """Whether the array has moved, or its length has changed, since `view` was taken last."""
        return self._viewed is not None and self._viewed[:2] != self.place()

    def read(self) -> NDArray[Any]:
        """Return a copy of all rows as they were at one time."""
        while True:
            length = len(self)
            data = self.read_bytes(0, length * self.row_bytes, length)
            if data is not None:
                return self._rows(data)

    def __getitem__(self, index: Any) -> Any:
        while True:
            reached = reach(index, len(self))
            rows = reached.rows
            if isinstance(rows, range) and reached.is_one_piece:
                start = rows.start * self.row_bytes
                data = self.read_bytes(start, start + len(rows) * self.row_bytes)
            else:
                data = self.gather(np.asarray(rows, np.uint64).tobytes())
            if data is not None:
                return self._rows(data)[reached.index]

    def update(self, index: Any, values: Any) -> None:
        """Assign as `view[index] = values` does, all of it or, after a kill, nothing."""
        # A short way for what is assigned most often.
        is_row = type(index) is int and index >= 0 and type(values) is np.ndarray
        is_row = is_row and self._is_plain and values.dtype == self._dtype
        is_row = is_row and values.shape == self._trailing
        if is_row and self.write_range(index * self._row_bytes, values.tobytes()):
            return
        while True:
            reached = reach(index, len(self))
            rows = reached.rows
            if reached.is_whole and isinstance(rows, range) and reached.is_one_piece:
                shape = self._trailing if reached.index == 0 else (len(rows), *self._trailing)
                data = packed(values, shape, self._dtype)
                done = self.write_range(rows.start * self.row_bytes, data)
            else:
                starts, lengths, data = assigned(reached, self._trailing, self._dtype, values)
                done = self.write_bytes(starts.tobytes(), lengths.tobytes(), data)
            if done:
                return

    __setitem__ = update

    def append(self, item: Any) -> None:
        """Add one row at the end."""
        self.extend_bytes(packed(item, self._trailing, self._dtype))

    def extend(self, items: Any) -> None:
        """Add rows at the end, all or none. Raises ValueError for those of another shape."""
        given = np.asarray(items, None if hasattr(items, "dtype") else self._dtype)
        if given.shape[1:] != self._trailing or given.ndim == 0:
            if given.shape[:1] == (0,):
                return
            raise ValueError(
                f"rows of shape {given.shape[1:]} do not fit behind those of array {self.name!r}, "
                f"which have {self._trailing}: give an array of shape (n, *{self._trailing})"
            )
        self.extend_bytes(packed(given, given.shape, self._dtype))

    def resize(self, length: int) -> None:
        """Cut rows off at the end, or add rows of zeros."""
        if length < 0:
            raise ValueError(f"an array cannot have {length} rows: give 0 or more")
        self.resize_rows(length)

    def __iter__(self) -> Iterator[Any]:
        """Go through the rows there are, some at a time, each as it was at one time."""
        step, row = max(1, _ITERATED_BYTES // self.row_bytes), 0
        while len(rows := self[row : row + step]):
            yield from rows
            row += len(rows)

    def __contains__(self, item: object) -> bool:
        return item in self.read()

    def __eq__(self, other: object) -> Any:
        return self.read() == (other.read() if isinstance(other, Array) else other)

    def __ne__(self, other: object) -> Any:
        return self.read() != (other.read() if isinstance(other, Array) else other)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        wanted = self._dtype if dtype is None else np.dtype(dtype)
        if copy is False and wanted != self._dtype:
            raise ValueError(f"{self._dtype} does not become {wanted} without a copy")
        if copy:
            return self.read().astype(wanted, copy=False)
        return self.view.astype(wanted, copy=False)

    def __dlpack__(self, **options: Any) -> Any:
        return self.view.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.view.__dlpack_device__()

    def _rows(self, data: bytearray) -> NDArray[Any]:
        return np.ndarray((len(data) // self.row_bytes, *self._trailing), self._dtype, data)

    def __repr__(self) -> str:
        try:
            state = f"shape {self.shape}"
        except VasmemError as error:  # closed, removed, corrupt
            state = str(error)
        return f"<Array {self.name!r} in {self.segment.name!r}, {self._dtype}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.segment, self.name)


def _reopen(segment: Segment, name: str) -> Array:
    return segment.array(name, create=False)


def open_array(
    segment: Segment,
    core: _core.Segment,
    name: str,
    shape: int | Iterable[int] | None,
    dtype: DTypeLike | None,
    create: bool,
) -> Array:
    """Open an array, or make it if `create` is true; see `Segment.array`."""
    wanted = None if dtype is None else _base(dtype)
    sizes = None if shape is None else _sizes(shape)
    made_with = None
    if create and sizes is not None and wanted is not None:
        item, inner = wanted
        trailing = (*sizes[1:], *inner)
        row_bytes = item.itemsize * math.prod(trailing)
        if row_bytes == 0 or len(trailing) >= _AXES_MAX:
            raise ValueError(f"shape {(*sizes, *inner)}: no axis but the first may be empty")
        made_with = (sizes[0], row_bytes, repr((describe(item), trailing)).encode())
    try:
        made = Array(core, name, made_with)
    except KeyError:
        if not create:
            raise
        raise ValueError(f"there is no array {name!r} yet: give shape and dtype") from None
    made.segment = segment
    _ensure_same(made, wanted, sizes)
    return made


def _base(dtype: DTypeLike) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype of the items, and the axes that it adds. Raises WrongType."""
    try:
        given = np.dtype(dtype)
    except (TypeError, ValueError):
        raise WrongType(f"{dtype!r} is no numpy dtype: give one such as 'f8'") from None
    if given.itemsize == 0 or given.hasobject:
        raise WrongType(f"an array cannot have dtype {given}: give one of a fixed size")
    return given.base, given.shape


def _sizes(shape: int | Iterable[int]) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if not sizes or min(sizes) < 0:
        raise ValueError(f"shape {sizes}: give one size, 0 or more, for each of 1 or more axes")
    return tuple(int(size) for size in sizes)


def _ensure_same(
    made: Array, wanted: tuple[np.dtype[Any], tuple[int, ...]] | None, sizes: tuple[int, ...] | None
) -> None:
    """Raises WrongType where the array is not what was asked for; its length may be another."""
    if wanted is not None and wanted[0] != made.dtype:
        raise WrongType(
            f"array {made.name!r} in segment {made.segment.name!r} has dtype {made.dtype}, not "
            f"{wanted[0]}: open it without dtype"
        )
    inner = wanted[1] if wanted is not None else ()
    if (sizes is not None or inner) and made._trailing != (*(sizes or ())[1:], *inner):
        raise WrongType(
            f"rows of array {made.name!r} in segment {made.segment.name!r} have shape "
            f"{made._trailing}, not {(*(sizes or ())[1:], *inner)}: open it without shape"
        )
