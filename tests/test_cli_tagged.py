"""Keys and values as JSON: everything that vasmem stores comes back equal and of the same type."""

import json
import math
import struct
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from values import BERLIN, same, values

import vasmem
from vasmem.cli.tagged import dumps, loads


@given(values)
def test_every_value_comes_back(value: object) -> None:
    text = dumps(value)
    assert "\n" not in text
    assert "\r" not in text
    text.encode()
    assert same(loads(text), value)


@given(
    of_numpy.arrays(
        st.one_of(
            of_numpy.scalar_dtypes().filter(lambda dtype: dtype.itemsize > 0),
            of_numpy.array_dtypes(of_numpy.integer_dtypes(), max_size=3),
        ),
        of_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
)
def test_arrays_come_back(value: np.ndarray) -> None:
    try:
        text = dumps({"a": [value]})
    except vasmem.WrongType:
        return  # refused when it is stored, too
    assert same(loads(text), {"a": [value]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ([1, 2.5, "é"], '[1, 2.5, "é"]'),
        ({"a": (1,)}, '{"a": {"$tuple": [1]}}'),
        ({1: 2}, '{"$dict": [[1, 2]]}'),
        ({"$tuple": 1}, '{"$dict": [["$tuple", 1]]}'),
        (b"\0\1", '{"$bytes": "AAE="}'),
        (2**64, '{"$int": "0x10000000000000000"}'),
        (-(2**70), '{"$int": "-0x400000000000000000"}'),
        (-math.inf, '{"$float": "-inf"}'),
        (complex(1, 2), '{"$complex": [1.0, 2.0]}'),
        ("\ud83d\ude00", '{"$str": "7aC97biA"}'),
        (datetime(2026, 1, 2, 3, 4), '{"$datetime": "2026-01-02T03:04:00"}'),
        (
            datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc),
            '{"$datetime": "2026-01-02T03:04:00+00:00"}',
        ),
        ({7}, '{"$set": [7]}'),
    ],
)
def test_the_form_is_this(value: object, text: str) -> None:
    assert dumps(value) == text
    assert same(loads(text), value)


def test_named_zones_payloads_and_depth_come_back() -> None:
    odd_nan = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    zoned = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    deep: object = 1
    for _ in range(100):
        deep = ({"key": [deep]},)[0]
    for value in (odd_nan, zoned, deep, np.float32(1.5), np.str_("a"), 10**5000):
        assert same(loads(dumps(value)), value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"$tupel": []}', "no tag"),
        ('{"$tuple": [], "a": 1}', "not alone"),
        ('{"$tuple": 1}', "does not hold"),
        ('{"$bytes": "*"}', "base64"),
        ('{"$packed": "wQ=="}', "does not hold"),
        ('{"$set": [[]]}', "does not hold"),
        ('{"$datetime": "yesterday"}', "does not hold"),
        ("NaN", "not JSON"),
        ("[" * 100_000, "deep"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loads(text)


def test_lines_are_json_for_everyone() -> None:
    json.loads(dumps([math.nan, b"x", {1: {2}}]), parse_constant=pytest.fail)
