"""Values on media: one msgpack document, back equal and of the same type, or refused."""

import collections
import enum
import math
import sys
import zoneinfo
from datetime import date, datetime, timedelta, timezone
from datetime import time as clock

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from values import BERLIN, back, same, values, words

from vasmem._core import SegmentCorrupted, WrongType, decode_value, encode_value


@given(values)
def test_round_trip(value: object) -> None:
    assert same(back(value), value)


@given(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0), st.data())
def test_numpy_arrays(dtype: np.dtype, shape: tuple, data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(dtype, shape))
    for variant in (array, array.T, array[..., ::2] if shape else array):
        got = back({"a": [variant]})["a"][0]
        assert same(got, variant)
        assert got.flags.writeable
        assert got.flags.f_contiguous == variant.flags.f_contiguous or not variant.flags.contiguous


@given(arrays.nested_dtypes(), st.data())
def test_numpy_structured(dtype: np.dtype, data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(dtype, 2))
    assert same(back(array), array)
    assert same(back(array[0]), array[0])


@pytest.mark.parametrize(
    "value",
    [
        np.bool_(True),
        np.int8(-1),
        np.uint64(2**64 - 1),
        np.float16(1.5),
        np.float64(-0.0),
        np.longdouble(1) / 3,
        np.complex64(1j),
        np.str_("a\0é"),
        np.str_(""),
        np.bytes_(b"a\0\0"),
        np.datetime64("2026-01-02T03:04:05.678"),
        np.datetime64("NaT", "s"),
        np.timedelta64(5, "25s"),
        np.void(b"abc"),
        np.zeros(2, dtype=np.dtype([("a", "u1"), ("b", "<f8", (2, 3))], align=True)),
        np.zeros(3, dtype=[("a", [("b", "S3"), (("title", "c"), ">u2")])]),
        np.array(["2026-01-02"], "M8[ns]"),
        np.arange(6.0).reshape(2, 3).T,
    ],
    ids=lambda value: repr(value).replace("\n", ""),
)
def test_numpy_examples(value: object) -> None:
    assert same(back(value), value)
    assert same(back([(value,)]), [(value,)])


@pytest.mark.parametrize("fold", [0, 1])
def test_fold_and_zone_names(fold: int) -> None:
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
    assert back(twice).utcoffset() == twice.utcoffset()
    assert back(twice).tzinfo is BERLIN
    assert back(clock(2, 30, fold=fold)).fold == fold
    named = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "here"))
    assert back(named).tzname() == "here"


def test_a_zone_that_is_not_known_here() -> None:
    stored = encode_value(datetime(2026, 1, 1, tzinfo=BERLIN)).replace(b"Berlin", b"Berlyn")
    with pytest.raises(ImportError, match=r"'Europe/Berlyn'.*install tzdata"):
        decode_value(stored)


lengths = [0, 1, 31, 32, 255, 256, 65_535, 65_536]
powers = [7, 8, 15, 16, 31, 32, 62]
integers = [sign * 2**bits + step for bits in powers for sign in (1, -1) for step in (-1, 0, 1)]
simple = [
    None,
    False,
    True,
    0,
    -32,
    -33,
    2**63,
    2**64 - 1,
    -(2**63),
    0.0,
    1.5,
    math.inf,
    "é",
    *integers,
]
simple += ["x" * length for length in lengths] + [b"x" * length for length in lengths]


@pytest.mark.parametrize(
    "value", simple, ids=lambda value: repr(value)[:20] + str(sys.getsizeof(value))
)
def test_simple_values_are_what_msgpack_writes(value: object) -> None:
    stored = msgpack.packb(value)
    assert encode_value(value) == stored
    assert same(decode_value(stored), value)
    assert same(decode_value(stored), msgpack.unpackb(stored))


@given(st.floats(width=32))
def test_msgpack_from_elsewhere(value: float) -> None:
    assert same(decode_value(msgpack.packb(value, use_single_float=True)), value)
    assert decode_value(b"\xcd\x00\x05") == decode_value(b"\xd3" + bytes(7) + b"\x05") == 5


# The format on media: these never change.
@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": [1, None]}, "81 a161 92 01 c0"),
        ((1, (2,)), "93 d40174 01 92 d40174 02"),
        ((), "91 d40174"),
        ({5}, "92 d40173 05"),
        (frozenset([5]), "92 d40166 05"),
        ({(1,): 2}, "81 92 d40174 01 02"),
        (2**64, "c7 09 02 010000000000000000"),
        (-(2**63) - 1, "c7 09 02 ff7fffffffffffffff"),
        (1 - 2j, "d8 03 3ff0000000000000 c000000000000000"),
        (datetime(2026, 1, 2, 3, 4, 5, 6), "c7 0c 04 07ea 01 02 03 04 05 00000006 00"),
        (
            datetime(2026, 1, 2, tzinfo=timezone.utc),
            "c7 18 04 07ea 01 02 00 00 00 00000000 00 2b 0000000000000000 555443",
        ),
        (
            datetime(2026, 1, 2, tzinfo=BERLIN, fold=1),
            "c7 1a 04 07ea 01 02 00 00 00 00000000 01 40 4575726f70652f4265726c696e",
        ),
        (date(2026, 1, 2), "d6 05 07ea 01 02"),
        (clock(1, 2, 3, 4), "d7 06 01 02 03 00000004 00"),
        (timedelta(-1, 2, 3), "c7 0c 07 ffffffff 00000002 00000003"),
        (np.float32(1.5), "93 d4016e a3 3c6634 c4 04 0000c03f"),
        (np.bytes_(b"a"), "93 d4016e a1 53 c4 01 61"),
        (np.array([[1, 2]], "<u2"), "95 d40161 a3 3c7532 92 01 02 a1 43 c4 04 0100 0200"),
    ],
    ids=repr,
)
def test_format(value: object, stored: str) -> None:
    assert encode_value(value).hex() == stored.replace(" ", "")
    assert same(decode_value(bytes.fromhex(stored)), value)


def test_plain_containers_are_plain_msgpack() -> None:
    value = {"name": "ada", "tags": ["a", b"b"], 5: {"x": 1.5, "y": None}}
    assert encode_value(value) == msgpack.packb(value)


class Colour(enum.IntEnum):
    RED = 3


class Money(int):
    """An int of another class."""


Point = collections.namedtuple("Point", "x y")
refused = [
    bytearray(b"a"),
    memoryview(b"a"),
    msgpack.ExtType(1, b"t"),
    msgpack.Timestamp(0),
    collections.OrderedDict(a=1),
    collections.defaultdict(list),
    collections.deque(),
    Point(1, 2),
    Colour.RED,
    Money(3),
    type("Text", (str,), {})("a"),
    type("Rows", (list,), {})(),
    type("Real", (np.float64,), {})(1.0),
    datetime,
    range(3),
    np.array([1, None]),
    np.zeros(1, dtype=[("a", "O")]),
    np.zeros(3, dtype="V0"),
    np.ma.array([1]),
    np.rec.array([(1,)], dtype=[("a", "i4")]),
    np.zeros(2, dtype=np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})),
    datetime(2026, 1, 1, tzinfo=type("Zone", (zoneinfo.ZoneInfo,), {})("Europe/Berlin")),
]


@pytest.mark.parametrize("value", refused, ids=lambda value: f"{type(value).__name__}")
def test_what_would_change_its_type_is_refused(value: object) -> None:
    for place in (value, [value], {"a": {"b": value}}, (1, [value])):
        with pytest.raises(WrongType, match=r"cannot be a value.*(store|convert)"):
            encode_value(place)


@pytest.mark.parametrize("place", [lambda v: {v: 1}, lambda v: {v}, lambda v: frozenset([v])])
@pytest.mark.parametrize("value", [Point(1, 2), (memoryview(b"a"),), msgpack.ExtType(1, b"t")])
def test_keys_and_members_are_looked_at_too(place: object, value: object) -> None:
    with pytest.raises(WrongType, match="cannot be a value"):
        encode_value(place(value))


def nested(levels: int, wrap: object) -> object:
    value = wrap([])
    for _ in range(levels - 1):
        value = wrap([value])
    return value


@pytest.mark.parametrize("wrap", [list, tuple, lambda items: {1: items[0] if items else 1}])
def test_depth_is_bounded(wrap: object) -> None:
    assert back(nested(256, wrap)) == nested(256, wrap)
    with pytest.raises(WrongType, match="256 levels"):
        encode_value(nested(257, wrap))
    endless: list = []
    endless.append(endless)
    with pytest.raises(WrongType, match="256 levels"):
        encode_value(wrap([endless]))
    with pytest.raises(SegmentCorrupted, match="too deep"):
        decode_value(b"\x91" * 257 + b"\xc0")
    with pytest.raises(SegmentCorrupted, match="too deep"):
        decode_value(b"\x92\xd4\x01t" * 1_000_000)


@example("\ud800")
@given(words)
def test_surrogates_anywhere(text: str) -> None:
    assert back({text: [text, (text,)]}) == {text: [text, (text,)]}
