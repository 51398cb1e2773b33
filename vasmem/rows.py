"""Which rows of an array an index reaches, and which of their bytes an assignment changes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = range | NDArray[np.int64]


class Reached:
    """The rows that an index reaches, in ascending order, and the index that is left for them."""

    def __init__(self, rows: Rows, index: Any) -> None:
        self.rows = rows
        self.index = index

    @property
    def is_one_piece(self) -> bool:
        """Whether the rows stand one behind the other."""
        return isinstance(self.rows, range) and (self.rows.step == 1 or len(self.rows) <= 1)

    @property
    def is_whole(self) -> bool:
        """Whether an assignment changes all of the rows."""
        if isinstance(self.index, (int, slice)):
            return self.index in (0, slice(None))
        return self.index is Ellipsis


def reach(index: Any, length: int) -> Reached:
    """Find the rows of `length` that an index reaches.

    Raises IndexError as numpy does where one is out of bounds.
    """
    first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
    if isinstance(first, slice):
        rows, left = _slice(first, length)
    elif isinstance(first, (list, np.ndarray)) and not isinstance(first, np.generic):
        found = _fancy(np.asarray(first), length)
        if found is None:
            return Reached(range(length), index)
        rows, left = found
    elif isinstance(first, (int, np.integer)) and not isinstance(first, (bool, np.bool_)):
        row = _row(operator.index(first), length)
        rows, left = range(row, row + 1), 0
    else:
        return Reached(range(length), index)
    return Reached(rows, (left, *rest) if rest else left)


def _row(row: int, length: int) -> int:
    if not -length <= row < length:
        raise IndexError(f"index {row} is out of bounds for axis 0 with size {length}")
    return row % length


def _slice(index: slice, length: int) -> tuple[Rows, Any]:
    rows = range(*index.indices(length))
    if not rows:
        return range(0), slice(None)
    if rows.step < 0:
        rows, left = rows[::-1], slice(None, None, -1)
    else:
        left = slice(None)
    return rows, left


def _fancy(first: NDArray[Any], length: int) -> tuple[Rows, Any] | None:
    """As `reach`, for row numbers or a mask of rows; None for other arrays."""
    if first.dtype == bool:
        if first.ndim != 1:
            return None
        if len(first) != length:
            raise IndexError(
                f"boolean index did not match indexed array along axis 0; size of axis is {length} "
                f"but size of corresponding boolean axis is {len(first)}"
            )
        rows = np.flatnonzero(first)
        return rows, np.arange(len(rows))
    if first.size == 0 and first.dtype.kind == "f":
        first = first.astype(np.int64)  # what numpy makes of an empty list
    if first.dtype.kind not in "iu":
        return None
    numbers = first.astype(np.int64)
    wrong = numbers[(numbers < -length) | (numbers >= length)]
    if wrong.size:
        _row(int(wrong[0]), length)
    rows, places = np.unique(np.where(numbers < 0, numbers + length, numbers), return_inverse=True)
    return rows, places.reshape(first.shape)


def packed(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Rows of a shape, all of which an assignment changes, as bytes. Raises as numpy does."""
    fits = type(value) is np.ndarray and value.dtype == dtype and value.shape == shape
    if fits and dtype.names is None:
        return bytes(value.tobytes())
    rows = np.zeros(shape, dtype)  # what lies between fields, too
    rows[...] = value
    return rows.tobytes()


def assigned(
    reached: Reached, trailing: tuple[int, ...], dtype: np.dtype[Any], value: Any
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], bytes]:
    """Starts and lengths of the ranges of bytes that an assignment changes, and those bytes.

    Raises as numpy's own assignment does.
    """
    shape = (len(reached.rows), *trailing)
    rows = np.zeros(shape, dtype)
    rows[reached.index] = value
    data = _bytes(rows)
    width = data.shape[1]
    numbers = np.asarray(reached.rows, np.uint64)
    if reached.is_whole:
        return numbers * np.uint64(width), np.full(len(numbers), width, np.uint64), data.tobytes()
    # What is assigned is the same on every background; all else shows it.
    other = np.full((len(numbers), width), 0xFF, np.uint8)
    seen = np.ndarray(shape, dtype, other.data)
    seen[reached.index] = value
    changed = np.zeros((len(numbers), width + 1), np.int8)  # a gap behind each row
    changed[:, :width] = data == other
    edges = np.flatnonzero(np.diff(changed.ravel(), prepend=np.int8(0)))
    starts, stops = edges[::2], edges[1::2]
    row, column = np.divmod(starts, width + 1)
    places = numbers[row] * np.uint64(width) + column.astype(np.uint64)
    return places, (stops - starts).astype(np.uint64), data[changed[:, :width] != 0].tobytes()


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
    return np.ndarray((len(rows), width), np.uint8, rows)
