"""numpy arrays and scalars as parts of a msgpack document; imported with the first of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.lib.format import descr_to_dtype

from vasmem._core import WrongType

# What numpy writes for a dtype without Python objects. numpy.dtype() accepts far more, and bytes
# from a segment must not choose from that.
_DTYPE = re.compile(r"[<>|][?biufcmMSUV][0-9]{1,10}(\[[0-9A-Za-z/]{1,16}\])?")
# Older versions of numpy do not say so themselves.
_described: Callable[[Any], np.dtype[Any]] = descr_to_dtype


@lru_cache(maxsize=128)
def _simple_dtype(text: str) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(text):
        raise ValueError(f"unknown dtype {text!r}")
    return _storable(np.dtype(text))


def _storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} cannot be stored")
    return dtype


def dtype_of(description: Any) -> np.dtype[Any]:
    """Make the dtype that `describe` described."""
    if type(description) is str:
        return _simple_dtype(description)
    _check_fields(description)
    return _storable(_described(description))


def _check_fields(fields: Any) -> None:
    if type(fields) is not list:
        raise ValueError("a dtype is damaged")
    for field in fields:
        if type(field) is not tuple or not 2 <= len(field) <= 3:
            raise ValueError("a field of a dtype is damaged")
        if type(field[1]) is str:
            _simple_dtype(field[1])
        else:
            _check_fields(field[1])


def describe(dtype: np.dtype[Any]) -> Any:
    """What `dtype_of` makes the same dtype of: text, or a list for a record. Raises WrongType."""
    try:
        description: Any = dtype.str if dtype.names is None else dtype.descr
        if dtype_of(description) == dtype:
            return description
    except (ValueError, TypeError):
        pass
    raise WrongType(
        f"a numpy object of dtype {dtype} cannot be a value (it holds Python objects, or would "
        "come back different): convert it with astype(), or store value.tolist()"
    )


def pack_array(value: np.ndarray[Any, Any]) -> list[Any]:
    """Return dtype, shape, order and bytes."""
    description = describe(value.dtype)
    order: Literal["C", "F"]
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    if value.dtype.names is not None:
        # What lies between the fields is whatever this process had there: nothing to share.
        clean = np.zeros(value.shape, value.dtype, order)
        clean[...] = value
        value = clean
    # A view as plain bytes, because not every dtype has a buffer.
    return [description, list(value.shape), order, value.ravel(order).view("u1").data]


def unpack_array(items: list[Any]) -> np.ndarray[Any, Any]:
    """Return a new, writable array from what `pack_array` returned."""
    description, shape, order, data = items
    dtype = dtype_of(description)
    if type(data) is not bytes or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError("the shape of an array does not fit its bytes")
    borrowed: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, order=order)
    return borrowed.copy(order)


def pack_scalar(value: np.generic) -> list[Any]:
    """Return dtype and bytes."""
    if type(value) is np.str_:
        return ["U", str(value)]
    if type(value) is np.bytes_:
        # Not by its dtype, which drops NULs at the end.
        return ["S", bytes(value)]
    if type(value) is not value.dtype.type:
        raise WrongType(f"{type(value)} cannot be a value: store it as {value.dtype.type}")
    description, _, _, data = pack_array(np.asarray(value))
    return [description, data]


def unpack_scalar(items: list[Any]) -> Any:
    """Return a scalar from what `pack_scalar` returned."""
    description, data = items
    if description == "U" and type(data) is str:
        return np.str_(data)
    if description == "S" and type(data) is bytes:
        return np.bytes_(data)
    return unpack_array([description, [], "C", data])[()]
