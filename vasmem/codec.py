"""Values that are more than a number, a str or bytes, as msgpack with extension types.

The native core encodes the simple values by itself and calls `pack` and the two `unpack`s here for
the others. A value comes back equal and of the same type, or it is refused with `WrongType`. On
media a value is one msgpack document, with these additions to plain msgpack:

==== ===================================================================================
type what it holds (all numbers big-endian)
==== ===================================================================================
1    a mark: one letter. Only as the first item of an array, which then is no list:
     "t" tuple, "s" set, "f" frozenset: the items follow;
     "a" numpy array: dtype, shape, order ("C" or "F"), bytes;
     "n" numpy scalar: dtype, bytes; or "U", str; or "S", bytes
2    int beyond 64 bits, two's complement
3    complex, two doubles
4    datetime: year u16, month, day, hour, minute, second u8, microsecond u32, fold u8, zone
5    date: year u16, month, day u8
6    time: hour, minute, second u8, microsecond u32, fold u8, zone
7    timedelta: days i32, seconds u32, microseconds u32
==== ===================================================================================

A zone is empty, or "+", microseconds of offset i64, name (`datetime.timezone`), or "@", key
(`zoneinfo.ZoneInfo`). A numpy dtype is its `str`, or for a structured one its `descr`.
"""

from __future__ import annotations

import builtins
import struct
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from functools import partial
from types import ModuleType
from typing import Any

import msgpack

from vasmem._core import WrongType

_BIG_INT, _COMPLEX, _DATETIME, _DATE, _TIME, _TIMEDELTA = range(2, 8)
_COMPLEX_LAYOUT = struct.Struct(">dd")
_DATETIME_LAYOUT = struct.Struct(">HBBBBBIB")
_DATE_LAYOUT = struct.Struct(">HBB")
_TIME_LAYOUT = struct.Struct(">BBBIB")
_TIMEDELTA_LAYOUT = struct.Struct(">iII")
_OFFSET_LAYOUT = struct.Struct(">q")
_MICROSECOND = timedelta(microseconds=1)

# msgpack would store these as another type by itself, so the core looks for them first.
LOOKALIKES = (
    bytearray,
    memoryview,
    msgpack.ExtType,
    msgpack.Timestamp,
    getattr(builtins, "frozendict", bytearray),
)


class _Mark:
    """The first item of an array that is no list, and how to build what it is."""

    __slots__ = ("build", "packed")

    def __init__(self, letter: bytes, build: Callable[[list[Any]], Any]) -> None:
        self.packed = msgpack.ExtType(1, letter)
        self.build = build


# Zones


def _pack_zone(value: datetime | time) -> bytes:
    zone: Any = value.tzinfo
    if zone is None:
        return b""
    if type(zone) is timezone:
        name: str = zone.tzname(None)
        return b"+" + _OFFSET_LAYOUT.pack(zone.utcoffset(None) // _MICROSECOND) + name.encode()
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        key: str = zone.key
        return b"@" + key.encode()
    raise refusal(zone)


def _unpack_zone(data: bytes) -> tzinfo | None:
    if not data:
        return None
    if data[:1] == b"+":
        offset = timedelta(microseconds=_OFFSET_LAYOUT.unpack(data[1:9])[0])
        plain, name = timezone(offset), data[9:].decode()
        return plain if name == plain.tzname(None) else timezone(offset, name)
    if data[:1] != b"@":
        raise ValueError("a time zone is damaged")
    import zoneinfo

    key = data[1:].decode()
    try:
        return zoneinfo.ZoneInfo(key)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ModuleNotFoundError(
            f"the value is in the time zone {key!r}, which is not known here: install tzdata",
            name="tzdata",
        ) from None


# numpy; imported only by whoever has such an object or reads one


def _pack_numpy(value: Any, numpy: ModuleType) -> list[Any] | None:
    from vasmem import _arrays

    if type(value) is numpy.ndarray:
        return [_ARRAY.packed, *_arrays.pack_array(value)]
    if isinstance(value, numpy.generic):
        return [_SCALAR.packed, *_arrays.pack_scalar(value)]
    return None


def _unpack_array(items: list[Any]) -> Any:
    from vasmem import _arrays

    return _arrays.unpack_array(items)


def _unpack_scalar(items: list[Any]) -> Any:
    from vasmem import _arrays

    return _arrays.unpack_scalar(items)


# Extension types and marks

_TUPLE = _Mark(b"t", tuple)
_SET = _Mark(b"s", set)
_FROZENSET = _Mark(b"f", frozenset)
_ARRAY = _Mark(b"a", _unpack_array)
_SCALAR = _Mark(b"n", _unpack_scalar)
_MARKS = {mark.packed.data: mark for mark in (_TUPLE, _SET, _FROZENSET, _ARRAY, _SCALAR)}


def _pack_int(value: int) -> Any:
    size = value.bit_length() // 8 + 1
    return msgpack.ExtType(_BIG_INT, value.to_bytes(size, "big", signed=True))


def _pack_complex(value: complex) -> Any:
    return msgpack.ExtType(_COMPLEX, _COMPLEX_LAYOUT.pack(value.real, value.imag))


def _pack_datetime(value: datetime) -> Any:
    day = (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    data = _DATETIME_LAYOUT.pack(*day, *clock) + _pack_zone(value)
    return msgpack.ExtType(_DATETIME, data)


def _unpack_datetime(data: bytes) -> datetime:
    size = _DATETIME_LAYOUT.size
    *parts, fold = _DATETIME_LAYOUT.unpack(data[:size])
    return datetime(*parts).replace(tzinfo=_unpack_zone(data[size:]), fold=fold)


def _pack_date(value: date) -> Any:
    return msgpack.ExtType(_DATE, _DATE_LAYOUT.pack(value.year, value.month, value.day))


def _pack_time(value: time) -> Any:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return msgpack.ExtType(_TIME, _TIME_LAYOUT.pack(*clock) + _pack_zone(value))


def _unpack_time(data: bytes) -> time:
    size = _TIME_LAYOUT.size
    *parts, fold = _TIME_LAYOUT.unpack(data[:size])
    return time(*parts).replace(tzinfo=_unpack_zone(data[size:]), fold=fold)


def _pack_timedelta(value: timedelta) -> Any:
    data = _TIMEDELTA_LAYOUT.pack(value.days, value.seconds, value.microseconds)
    return msgpack.ExtType(_TIMEDELTA, data)


_PACKERS: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: [_TUPLE.packed, *value],
    set: lambda value: [_SET.packed, *value],
    frozenset: lambda value: [_FROZENSET.packed, *value],
    int: _pack_int,
    complex: _pack_complex,
    datetime: _pack_datetime,
    date: _pack_date,
    time: _pack_time,
    timedelta: _pack_timedelta,
}
_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    1: _MARKS.__getitem__,
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _COMPLEX: lambda data: complex(*_COMPLEX_LAYOUT.unpack(data)),
    _DATETIME: _unpack_datetime,
    _DATE: lambda data: date(*_DATE_LAYOUT.unpack(data)),
    _TIME: _unpack_time,
    _TIMEDELTA: lambda data: timedelta(*_TIMEDELTA_LAYOUT.unpack(data)),
}


def refusal(value: object) -> WrongType:
    """Return the exception that says why `value` is not stored, and what to store instead."""
    kind = type(value)
    if kind in (bytearray, memoryview):
        advice = "it would come back as bytes: store bytes(value)"
    elif isinstance(value, Enum):
        advice = "store value.value"
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        advice = "it would come back as a plain tuple: store tuple(value) or value._asdict()"
    else:
        base = next((base for base in kind.__mro__ if base in _NATIVE or base in _PACKERS), None)
        advice = "store a dict, list or tuple of its parts"
        if base is not None:
            name = base.__name__
            advice = f"it would come back as a plain {name}: store the {name} that it contains"
    return WrongType(f"{kind.__module__}.{kind.__qualname__} cannot be a value ({advice})")


_NATIVE = (bool, int, float, str, bytes, list, dict)


def _extend(value: Any) -> Any:
    """Turn what msgpack does not know into what it knows."""
    packer = _PACKERS.get(type(value))
    if packer is not None:
        return packer(value)
    numpy = sys.modules.get("numpy")
    packed = None if numpy is None else _pack_numpy(value, numpy)
    if packed is None:
        raise refusal(value)
    return packed


def _build(items: list[Any]) -> Any:
    if items and type(items[0]) is _Mark:
        return items.pop(0).build(items)
    return items


def _unpack_extension(code: int, data: bytes) -> Any:
    return _UNPACKERS[code](data)


_new_packer = partial(msgpack.Packer, default=_extend, strict_types=True)
# A packer keeps its buffer, and packs one value at a time: `_extend` is Python, so another thread
# may run meanwhile.
_idle_packers: list[msgpack.Packer] = []
_KEPT_BUFFER = 1 << 20


def pack(value: object) -> bytes:
    """Encode `value` as one document; the core has looked at it before.

    Raises `WrongType` for an object that would not come back equal and of the same type.
    """
    try:
        packer = _idle_packers.pop()
    except IndexError:
        packer = _new_packer()
    try:
        document: bytes = packer.pack(value)
    except UnicodeEncodeError:
        document = _new_packer(unicode_errors="surrogatepass").pack(value)
    if len(document) <= _KEPT_BUFFER:
        _idle_packers.append(packer)
    return document


unpack_plain = partial(msgpack.unpackb, strict_map_key=False, unicode_errors="surrogatepass")
"""Decode a document without extension types."""

unpack_marked = partial(unpack_plain, list_hook=_build, ext_hook=_unpack_extension)
"""Decode a document with extension types."""
