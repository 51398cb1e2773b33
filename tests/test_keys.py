"""Keys on media: one encoding for each, and bytes sort as the keys do."""

import enum
import math
import struct
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vasmem._core import SegmentCorrupted, WrongType, decode_key, encode_key

INF = math.inf

floats = st.floats(allow_nan=False)
edges = st.sampled_from(
    [sign * (2**bits + step) for bits in (*range(0, 80, 8), 53, 63, 1023, 2032, 2040, 2048)
     for sign in (1, -1) for step in (-1, 0, 1)]
)  # fmt: skip
near_floats = st.builds(
    lambda value, step: int(value) + step,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-1, 1),
)
numbers = st.one_of(st.booleans(), st.integers(), edges, near_floats, floats)
texts = st.text(st.characters(exclude_categories=())) | st.text(
    "\0\x01a\u07ff\ud800\uffff\U00010000"
)
byte_strings = st.binary() | st.lists(st.sampled_from([0, 1, 254, 255])).map(bytes)
scalars = st.one_of(st.none(), numbers, texts, byte_strings)


def tuples_of(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(items, max_size=4).map(tuple)


keys = st.recursive(scalars, tuples_of, max_leaves=8)
# Alike up to a point, so that a difference far inside decides.
tuples = st.lists(st.sampled_from([0, 1, 1.5, -1, -1.5, "", "\0", "a", b"", b"\0", None, (), (0,)]))


def rank(key: object) -> int:
    if isinstance(key, int | float):
        return 1
    return [type(None), object, str, bytes, tuple].index(type(key))


def before(left: object, right: object) -> bool:
    """The order that the bytes must have, by Python's own comparisons."""
    if rank(left) != rank(right):
        return rank(left) < rank(right)
    if not isinstance(left, tuple) or not isinstance(right, tuple):
        return left is not None and left < right
    for one, other in zip(left, right, strict=False):
        if one != other:
            return before(one, other)
    return len(left) < len(right)


def check_pair(left: object, right: object) -> None:
    left_bytes, right_bytes = encode_key(left), encode_key(right)
    assert (left_bytes == right_bytes) == (left == right)
    assert (left_bytes < right_bytes) == before(left, right)
    assert (left_bytes > right_bytes) == before(right, left)


@given(numbers, numbers)
@example(2**53 + 1, 2.0**53)
@example(-(2**53) - 1, -(2.0**53))
@example(5e-324, -5e-324)
@example(-5e-324, -1)
@example(-0.0, 0)
@example(10**400, INF)
@example(-(10**400), -INF)
@example(1.7976931348623157e308, 2**1024)
@example(2**64, 2.0**64)
def test_numbers_are_one_order_and_equal_ones_one_key(left: float, right: float) -> None:
    check_pair(left, right)


@given(near_floats, floats)
def test_an_int_and_the_float_next_to_it(near: int, other: float) -> None:
    check_pair(near, other)
    if abs(near) < 10**300:
        check_pair(near, float(near))
        check_pair(near, math.nextafter(float(near), INF))
        check_pair(near, math.nextafter(float(near), -INF))


@given(st.lists(numbers))
def test_sorted_by_bytes_is_sorted(values: list[float]) -> None:
    assert sorted(values, key=encode_key) == sorted(values)


@given(texts, texts)
def test_str_sorts_by_code_point(left: str, right: str) -> None:
    check_pair(left, right)
    check_pair((left, 1), (right, ""))


@given(byte_strings, byte_strings)
def test_bytes_sort_as_they_are(left: bytes, right: bytes) -> None:
    check_pair(left, right)
    check_pair((left, 1), (right, b""))


@given(keys, keys)
def test_keys_of_all_kinds(left: object, right: object) -> None:
    check_pair(left, right)


@given(tuples, tuples, tuples)
def test_tuples_with_a_common_beginning(head: list, left: list, right: list) -> None:
    check_pair((*head, *left), (*head, *right))
    check_pair((*head, tuple(left)), (*head, tuple(right)))
    check_pair((*head, tuple(left), 1), (*head, tuple(right), 1.5))


def plain(key: object) -> object:
    """What a key comes back as."""
    if isinstance(key, tuple):
        return tuple(plain(item) for item in key)
    return int(key) if isinstance(key, int | float) and key == key // 1 else key


def typed(key: object) -> object:
    return tuple(map(typed, key)) if isinstance(key, tuple) else (type(key), key)


@given(keys)
@example(2**63)
@example(-(2**63) - 1)
@example(2**64)
@example(-(2**64))
def test_round_trip(key: object) -> None:
    assert typed(decode_key(encode_key(key))) == typed(plain(key))


@pytest.mark.parametrize("size", [8, 9, 253, 254, 255, 256, 257, 70_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_ints_where_the_form_of_their_size_changes(size: int, sign: int) -> None:
    limit = sign * 256**size
    for left in (limit - 1, limit, limit + 1):
        assert decode_key(encode_key(left)) == left
        for right in (limit - 1, limit, limit + 1):
            check_pair(left, right)
            check_pair((left, "a"), (right, None))


# The format on media: these never change.
@pytest.mark.parametrize(
    ("key", "stored"),
    [
        (None, "08"),
        (-INF, "10"),
        (-(2**64), "11 f6 feffffffffffffffff"),
        (-(2**64) + 1, "12 0000000000000000"),
        (-256, "18 feff"),
        (-1, "19 fe"),
        (-0.0, "1a"),
        (False, "1a"),
        (True, "1b 01"),
        (255.0, "1b ff"),
        (256, "1c 0100"),
        (2**64 - 1, "22 ffffffffffffffff"),
        (2**64, "23 09 010000000000000000"),
        (2.0**64, "23 09 010000000000000000"),
        (256**254, "23 ff 000000ff 01" + "00" * 254),
        (INF, "24"),
        (5.5, "1b 05 ff 3fe0000000000000"),
        (-5.5, "19 f9 ff c01fffffffffffff"),
        (5e-324, "1a ff 0000000000000001"),
        (-5e-324, "19 fe ff fffffffffffffffe"),
        ("", "40"),
        ("a\0é", "40 61 00 c3a9"),
        ("\ud800", "40 eda080"),
        (b"", "48"),
        (b"\0\xff", "48 00 ff"),
        ((), "50"),
        ((2026, 1), "50 1c 07ea 1b 01"),
        (((), ("a\0", b"\0")), "50 50 00 50 40 61 00ff 00 48 00ff 00 00"),
    ],
)
def test_format(key: object, stored: str) -> None:
    assert encode_key(key).hex() == stored.replace(" ", "")
    assert decode_key(bytes.fromhex(stored)) == key


class Colour(enum.IntEnum):
    RED = 3


class Name(str):
    """A str of another class."""


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("key", "same"),
    [
        (Colour.RED, 3),
        (Name("a"), "a"),
        (Point(1, 2.0), (1, 2)),
        (np.bool_(True), 1),
        (np.int8(-1), -1),
        (np.int64(2**62), 2**62),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.5), 0.5),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(0.1), 0.1),
        (np.longdouble(1.5), 1.5),
        (np.str_("a\0b"), "a\0b"),
        (np.bytes_(b"a\0b"), b"a\0b"),
        ((np.int64(1), (np.float64(2),)), (1, (2,))),
    ],
)
def test_what_equals_a_key_in_a_dict_is_that_key(key: object, same: object) -> None:
    assert same in {key: None}
    assert encode_key(key) == encode_key(same)


@pytest.mark.parametrize(
    "key",
    [
        math.nan,
        -math.nan,
        np.float32("nan"),
        (1, (math.nan,)),
        [],
        {},
        set(),
        bytearray(b"a"),
        frozenset(),
        1j,
        int,
        (1, [2]),
        np.timedelta64(1, "s"),
        np.datetime64("2026-01-01"),
        np.array(1),
        np.longdouble(1) / 3,
        np.longdouble("nan"),
    ],
    ids=repr,
)
def test_what_cannot_be_a_key(key: object) -> None:
    with pytest.raises(WrongType, match=r"cannot be a key: .*use "):
        encode_key(key)


def nested(levels: int) -> tuple:
    key: tuple = ()
    for _ in range(levels - 1):
        key = (key,)
    return key


def test_depth_is_bounded() -> None:
    assert decode_key(encode_key(nested(64))) == nested(64)
    with pytest.raises(WrongType, match="64 levels"):
        encode_key(nested(65))
    with pytest.raises(SegmentCorrupted, match="too deep"):
        decode_key(b"\x50" * 65)
    with pytest.raises(SegmentCorrupted, match="too deep"):
        decode_key(b"\x50" * 1_000_000)


def check_hostile(data: bytes) -> None:
    try:
        key = decode_key(data)
    except SegmentCorrupted:
        return
    assert encode_key(key) == data


@given(st.binary())
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    check_hostile(data)
    check_hostile(b"\x50" + data)


@given(keys, st.integers(0), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_keys(key: object, place: int, put: bytes, cut: int) -> None:
    data = encode_key(key)
    place %= len(data) + 1
    check_hostile(data[:place] + put + data[place + cut :])


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "00",
        "ff",
        "08 00",
        "1b",
        "1b 00",
        "1c 0001",
        "19 ff",
        "18 ffff",
        "23 08 0100000000000000",
        "23 09 000000000000000000",
        "23 09 01000000000000",
        "23 ff 000000fe 01",
        "23 ff ffffffff 01",
        "11 00 00000000 fe",
        "1a ff 0000000000000000",
        "1a ff 3ff0000000000000",
        "1a ff 7ff0000000000000",
        "1a ff 7ff8000000000000",
        "1a ff bfe0000000000000",
        "1a ff 3fe00000000000",
        "1b 05 ff " + struct.pack(">d", 0.5 + 2**-53).hex(),
        "21 20000000000001 ff 3fe0000000000000",
        "40 ff",
        "40 ed a0",
        "40 c0 80",
        "50 40 61",
        "50 40 61 00ff",
        "50 50",
        "50 00",
        "50 50 00 00",
        "50 ff",
    ],
)
def test_bytes_that_are_no_key(stored: str) -> None:
    with pytest.raises(SegmentCorrupted, match="the bytes of a key are damaged: "):
        decode_key(bytes.fromhex(stored))
