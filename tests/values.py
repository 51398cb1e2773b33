"""Values of every kind, and what it means that one came back."""

import struct
import zoneinfo
from datetime import datetime, timedelta, timezone
from datetime import time as clock

import numpy as np
from hypothesis import strategies as st

from vasmem._core import decode_value, encode_value

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def fields(value: np.ndarray | np.generic) -> tuple:
    """Shape and bytes; what is between the fields of a structure is 0."""
    clean = np.zeros(value.shape, value.dtype)
    clean[...] = value
    if clean.dtype.char in "gG":  # a long double has bytes that mean nothing
        return value.shape, repr(clean.tolist())
    return value.shape, clean.tobytes()


def same(left: object, right: object) -> bool:
    """Equal and of the same type all the way down; NaN is the same as NaN, 0.0 not as -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and fields(left) == fields(right)
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, dict):
        return len(left) == len(right) and same(list(left.items()), list(right.items()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        unmatched = list(right)
        for item in left:
            match = next((other for other in unmatched if same(item, other)), unmatched)
            if match is unmatched:
                return False
            unmatched.remove(match)
        return not unmatched
    if isinstance(left, datetime | clock):
        return left == right and repr(left) == repr(right)
    return left == right


def back(value: object) -> object:
    return decode_value(encode_value(value))


zones = st.one_of(
    st.none(),
    st.just(timezone.utc),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    st.builds(timezone, st.timedeltas(timedelta(0), timedelta(hours=9)), st.text()),
    st.just(BERLIN),
)
words = st.text(st.characters(exclude_categories=()))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    words,
    st.binary(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.dates(),
    st.builds(clock, *map(st.integers, [0] * 4, [23, 59, 59, 999_999]), tzinfo=zones),
    st.timedeltas(),
)


def hashable_of(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(items, max_size=3).map(tuple) | st.frozensets(items, max_size=3)


hashables = st.recursive(scalars, hashable_of, max_leaves=4)


def containers_of(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        st.lists(items, max_size=4),
        st.lists(items, max_size=4).map(tuple),
        st.dictionaries(hashables, items, max_size=4),
        st.sets(hashables, max_size=4),
    )


values = st.recursive(hashables, containers_of, max_leaves=8)
