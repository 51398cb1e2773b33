"""Fixed-size numpy dtypes: which are possible, and their scalars and arrays as bytes."""

from __future__ import annotations

import ast
import struct
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from vasmem._arrays import describe, dtype_of
from vasmem.errors import SegmentCorrupted, WrongType

# Formats of `struct` by kind and size, for scalars that need no numpy on their way.
_FORMATS = {
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "b1": "?",
}


class Type:
    """Scalars and arrays of one dtype as bytes."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        code = _FORMATS.get(f"{dtype.kind}{dtype.itemsize}") if dtype.names is None else None
        self._struct = struct.Struct(f"<{code}") if code else None

    def pack(self, value: Any) -> bytes:
        """Raises WrongType for what is no such scalar, ValueError for what does not fit."""
        dtype = self.dtype
        if dtype.kind == "S":
            if not isinstance(value, bytes):
                raise self._wrong(value)
            if len(value) > dtype.itemsize:
                raise ValueError(f"{len(value)} bytes do not fit into {dtype}: {value!r:.60}")
            return value.ljust(dtype.itemsize, b"\0")
        try:
            if self._struct:
                return self._struct.pack(value)
            array = np.array(value, dtype=dtype)
        except (struct.error, OverflowError) as error:
            if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
                raise ValueError(f"{value!r} does not fit into {dtype}: {error}") from None
            raise self._wrong(value) from None
        except (TypeError, ValueError):
            raise self._wrong(value) from None
        if array.shape != ():
            raise self._wrong(value)
        return array.tobytes()

    def unpack(self, data: bytes) -> Any:
        """The scalar as Python has it; bytes in full length, a record as a tuple."""
        if self._struct:
            return self._struct.unpack(data)[0]
        if self.dtype.kind == "S":
            return data
        return np.frombuffer(data, self.dtype)[0].item()

    def pack_many(self, what: str, values: ArrayLike) -> NDArray[Any]:
        """One contiguous array of one dimension; raises as `pack`."""
        if not hasattr(values, "dtype") and self._struct is None:
            # What numpy would make of a list of tuples or times is something else.
            return self.array(bytearray(b"".join(map(self.pack, cast(Iterable[Any], values)))))
        array = np.asarray(values)
        if array.size == 0:
            array = array.astype(self.dtype)
        if array.ndim != 1:
            raise ValueError(f"{what} have the shape {array.shape}: give an array of one dimension")
        if array.dtype != self.dtype:
            array = self._cast(what, array)
        return np.ascontiguousarray(array)

    def _cast(self, what: str, array: NDArray[Any]) -> NDArray[Any]:
        wanted, given = self.dtype, array.dtype
        if wanted.kind in "iu" and given.kind in "iu":
            cast = array.astype(wanted)
            if ((cast.astype(given) != array) | ((cast < 0) != (array < 0))).any():
                raise ValueError(f"some of the {what} do not fit into {wanted}")
            return cast
        fits = np.can_cast(given, wanted, "same_kind")
        if wanted.kind == "S" and given.kind == "S" and given.itemsize > wanted.itemsize:
            fits = bool((np.char.str_len(array) <= wanted.itemsize).all())
        if not fits or given.hasobject:
            raise WrongType(f"{what} are {given}, which does not become {wanted} safely")
        return array.astype(wanted)

    def array(self, data: bytearray) -> NDArray[Any]:
        """The scalars that stand one after the other in `data`, which it takes over."""
        return np.frombuffer(data, self.dtype)

    def _wrong(self, value: Any) -> WrongType:
        return WrongType(f"{value!r:.60} is {type(value).__name__}, not a scalar of {self.dtype}")


def fixed_dtype(what: str, wanted: DTypeLike) -> np.dtype[Any]:
    """The dtype, little-endian and without gaps. Raises WrongType for one that is not possible."""
    try:
        dtype = np.dtype(wanted).newbyteorder("<")
        known = dtype_of(describe(dtype)) == dtype and dtype.subdtype is None
    except (TypeError, ValueError):
        known = False
    if not known:
        raise WrongType(f"{wanted!r} is no fixed-size numpy dtype for {what}: write 'u8' or 'S16'")
    if _has_gaps(dtype):
        raise WrongType(f"{dtype} has gaps between its fields: give a packed dtype for {what}")
    return dtype


def key_dtype(wanted: DTypeLike) -> np.dtype[Any]:
    """As `fixed_dtype`, of keys: equal ones have equal bytes. Raises WrongType."""
    dtype = fixed_dtype("keys", wanted)
    if _kinds(dtype) & {"f", "c"}:
        raise WrongType(f"{dtype} cannot be a key: equal floats may differ in bytes (0.0, -0.0)")
    return dtype


def _has_gaps(dtype: np.dtype[Any]) -> bool:
    if dtype.subdtype is not None:
        return _has_gaps(dtype.subdtype[0])
    if dtype.names is None:
        return False
    fields = [dtype[name] for name in dtype.names]
    return any(map(_has_gaps, fields)) or sum(f.itemsize for f in fields) != dtype.itemsize


def _kinds(dtype: np.dtype[Any]) -> set[str]:
    if dtype.subdtype is not None:
        return _kinds(dtype.subdtype[0])
    if dtype.names is None:
        return {dtype.kind}
    return {kind for name in dtype.names for kind in _kinds(dtype[name])}


def key_parts(dtype: np.dtype[Any]) -> list[tuple[int, str]]:
    """The parts of a key that compare one after the other: bytes, and "u", "i" or "S" for a number
    without or with a sign, or bytes as they are."""
    if dtype.subdtype is not None:
        return key_parts(dtype.subdtype[0]) * int(np.prod(dtype.subdtype[1]))
    if dtype.names is not None:
        return [part for name in dtype.names for part in key_parts(dtype[name])]
    if dtype.kind == "U":
        return [(4, "u")] * (dtype.itemsize // 4)
    kinds = {"u": "u", "b": "u", "i": "i", "m": "i", "M": "i"}
    return [(dtype.itemsize, kinds.get(dtype.kind, "S"))]


def dtypes_of(descriptions: Any) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Key and value dtype of a typed map, as it describes them. Raises ValueError."""
    try:
        key, value = (dtype_of(description) for description in descriptions)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"these are no two dtypes of a typed map: {descriptions!r:.80}") from error
    return key, value


Types = tuple[np.dtype[Any], np.dtype[Any]]


def wanted_types(types: tuple[Any, Any]) -> Types:
    """The dtypes of keys and values that somebody asks for. Raises WrongType."""
    return key_dtype(types[0]), fixed_dtype("values", types[1])


def made_with(wanted: Types | None) -> tuple[int, int, bytes] | None:
    """What the core needs to make a structure of these types: their sizes and a description."""
    if wanted is None:
        return None
    description = repr(tuple(describe(dtype) for dtype in wanted)).encode()
    return wanted[0].itemsize, wanted[1].itemsize, description


def described(what: str, description: bytes, sizes: tuple[int, int]) -> Types:
    """The dtypes that `made_with` described. Raises SegmentCorrupted if it did not."""
    try:
        key, value = dtypes_of(ast.literal_eval(description.decode()))
        key_dtype(key)
    except (ValueError, SyntaxError, MemoryError, RecursionError, WrongType):
        key = value = np.dtype("V0")
    if (key.itemsize, value.itemsize) != sizes:
        raise SegmentCorrupted(f"the types of {what} are damaged")
    return key, value


def ensure_types(what: str, made: Any, wanted: Types | None) -> None:
    """Raises WrongType if a structure is of other types than those that are asked for."""
    if wanted is not None and (made.key_dtype, made.value_dtype) != wanted:
        raise WrongType(
            f"{what} {made.name!r} in {made.segment.name!r} is of {made.key_dtype} to "
            f"{made.value_dtype}, not of {wanted[0]} to {wanted[1]}: open it with its own types"
        )
