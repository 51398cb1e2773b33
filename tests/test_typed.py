"""Typed hash maps: keys and values of fixed numpy dtypes."""

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vasmem

Make = Callable[..., vasmem.Segment]
NUMBERS = itertools.count()
POINT = np.dtype([("x", "<i4"), ("y", "<i4")])
WIDE = np.dtype([("name", "S40"), ("prices", "<f8", (12,)), ("when", "<M8[ns]")])
KEYS = ["u8", "i8", "u1", "S16", "S3", "M8[ns]", "?", POINT]
VALUES = ["f8", "i4", "u1", "S100", "c16", "?", WIDE]


def keys_of(dtype: Any, count: int) -> np.ndarray:
    """So many different keys, fewer where there are not as many."""
    dtype = np.dtype(dtype)
    numbers = np.arange(count)
    if dtype == np.bool_:
        return np.array([False, True])
    if dtype.kind == "S":
        return np.array([b"%03d" % number for number in numbers[:1000]], dtype)
    if dtype.names:
        return np.array([(number, -number) for number in numbers.tolist()], dtype)
    if dtype.kind == "u" and dtype.itemsize == 1:
        return numbers[:256].astype(dtype)
    return (numbers * 7919 - (count if dtype.kind == "i" else 0)).astype(dtype)


def by_key(keys: np.ndarray, values: np.ndarray) -> dict[bytes, bytes]:
    return {key.tobytes(): value.tobytes() for key, value in zip(keys, values, strict=True)}


def values_of(dtype: Any, count: int) -> np.ndarray:
    dtype = np.dtype(dtype)
    random = np.random.default_rng(count).bytes(dtype.itemsize * count)
    if dtype == np.bool_:
        return np.frombuffer(random, "u1") > 127
    if dtype.names or dtype.kind in "fc":
        return np.frombuffer(random.translate(bytes(n % 60 for n in range(256))), dtype)
    return np.frombuffer(random, dtype)


# Each with each of the others would be many.
@pytest.mark.parametrize(
    ("key", "value"),
    [*zip(KEYS, [*VALUES, "f8"], strict=True), *zip(KEYS[::-1], ["u8", *VALUES], strict=True)],
    ids=str,
)
def test_batches_of_every_dtype(segment: vasmem.Segment, key: Any, value: Any) -> None:
    table = segment.hashmap("typed", key=key, value=value)
    keys = keys_of(key, 3000)
    values = values_of(value, len(keys))
    table.put_many(keys, values)
    assert len(table) == len(keys)
    found_values, found = table.get_many(keys[::-1])
    assert found.all()
    assert (found_values == values[::-1]).all()
    assert found_values.dtype == np.dtype(value)
    assert by_key(*table.items_array()) == by_key(keys, values)
    gone = table.delete_many(keys[::2])
    assert gone.all()
    found_values, found = table.get_many(keys)
    assert found.tolist() == [number % 2 == 1 for number in range(len(keys))]
    assert not found_values[::2].view("V").tobytes().strip(b"\0")
    assert len(table) == len(keys) // 2


def test_it_is_a_mapping(segment: vasmem.Segment) -> None:
    table = segment.hashmap("ids", key="u8", value="f8")
    table[3] = 1.5
    table.update({4: 2, 5: 2.5})
    assert dict(table) == {3: 1.5, 4: 2.0, 5: 2.5}
    assert table[np.uint64(4)] == 2.0
    assert type(table[4]) is float
    assert 4 in table
    assert 6 not in table
    assert table.get(6) is None
    assert sorted(table.items()) == [(3, 1.5), (4, 2.0), (5, 2.5)]
    assert sorted(table.values()) == [1.5, 2.0, 2.5]
    del table[4]
    for operation in (lambda: table[4], lambda: table.pop(4), lambda: table.__delitem__(4)):
        with pytest.raises(KeyError):
            operation()
    assert table.pop(5) == 2.5
    assert table.pop(5, None) is None
    assert table.setdefault(3, 9) == 1.5
    assert table.setdefault(9, 9) == 9.0
    assert table.popitem()[0] in (3, 9)
    table.clear()
    assert dict(table) == {}
    with pytest.raises(KeyError, match="empty"):
        table.popitem()


def test_what_looks_and_changes_as_one(segment: vasmem.Segment) -> None:
    table = segment.hashmap("counts", key="S8", value="i8")
    assert table.incr(b"a") == 1
    assert table.incr(b"a", 5) == 6
    assert table.add(b"b", 1)
    assert not table.add(b"b", 2)
    assert table.compare_and_set(b"b", 1, 7)
    assert not table.compare_and_set(b"b", 1, 8)
    assert not table.compare_and_set(b"c", 0, 1)
    assert table.modify(b"b", lambda value: value * 2) == 14
    assert table.modify(b"new", lambda value: value + 1, 10) == 11
    with pytest.raises(KeyError):
        table.modify(b"c", lambda value: value)
    with pytest.raises(ValueError, match="does not fit"):
        table.incr(b"a", 2**63)
    assert table[b"a"] == 6


def test_bytes_are_all_of_their_bytes(segment: vasmem.Segment) -> None:
    table = segment.hashmap("names", key="S4", value="S2")
    table[b"a"] = b"x"
    assert dict(table) == {b"a\0\0\0": b"x\0"}
    assert table[b"a\0\0\0"] == table[b"a"] == b"x\0"
    with pytest.raises(ValueError, match="do not fit"):
        table[b"longer"] = b""


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("7", 1.0, vasmem.WrongType),
        (None, 1.0, vasmem.WrongType),
        (1.5, 1.0, ValueError),
        (-1, 1.0, ValueError),
        (2**64, 1.0, ValueError),
        ([1], 1.0, vasmem.WrongType),
        (1, "1.0", vasmem.WrongType),
        (1, None, vasmem.WrongType),
    ],
)
def test_scalars_that_are_not_of_the_type(
    segment: vasmem.Segment, key: Any, value: Any, error: type[Exception]
) -> None:
    table = segment.hashmap("ids", key="u8", value="f8")
    with pytest.raises(error):
        table[key] = value
    assert len(table) == 0


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ([1.5], vasmem.WrongType),
        (["a"], vasmem.WrongType),
        ([-1], ValueError),
        (np.array([2**63], "u8") * np.array(-1, "i8"), vasmem.WrongType),
        (np.zeros((2, 2), "u8"), ValueError),
        ([None], vasmem.WrongType),
    ],
)
def test_arrays_that_are_not_of_the_type(
    segment: vasmem.Segment, keys: Any, error: type[Exception]
) -> None:
    table = segment.hashmap("ids", key="u8", value="f8")
    for operation in (table.get_many, table.delete_many, lambda keys: table.put_many(keys, keys)):
        with pytest.raises(error):
            operation(keys)
    with pytest.raises(ValueError, match="as many"):
        table.put_many([1, 2], [1.0])
    assert len(table) == 0
    assert table.get_many([])[0].shape == (0,)


def test_other_widths_are_cast_if_they_fit(segment: vasmem.Segment) -> None:
    table = segment.hashmap("small", key="u1", value="f4")
    table.put_many(np.array([1, 255], "i8"), np.array([0.5, 1.5], "f8"))
    assert dict(table) == {1: 0.5, 255: 1.5}
    with pytest.raises(ValueError, match="do not fit"):
        table.put_many([256], [1.0])
    big = segment.hashmap("big", key=">i4", value="i8")
    big.put_many(np.array([-5], ">i8"), [1])
    assert big.key_dtype == np.dtype("<i4")
    assert dict(big) == {-5: 1}


@pytest.mark.parametrize("key", ["f8", "c8", "O", "U0", "nonsense", object, [("a", "f4")], "V0"])
def test_dtypes_that_are_no_keys(segment: vasmem.Segment, key: Any) -> None:
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("ids", key=key, value="f8")
    assert "ids" not in segment


def test_dtypes_that_are_no_values(segment: vasmem.Segment) -> None:
    gaps = np.dtype([("a", "u1"), ("b", "u8")], align=True)
    for value in ("O", "S0", gaps, "S1000"):
        with pytest.raises(vasmem.WrongType):
            segment.hashmap("ids", key="u8", value=value)
    with pytest.raises(ValueError, match="both"):
        segment.hashmap("ids", key="u8")
    with pytest.raises(ValueError, match="both"):
        segment.hashmap("ids", raw=True, key="u8", value="u8")


def test_it_keeps_its_types(segment: vasmem.Segment) -> None:
    table = segment.hashmap("ids", key="u8", value=WIDE)
    table[1] = (b"name", range(12), np.datetime64(1, "ns"))
    with vasmem.attach(segment.url, readonly=True) as reader:
        again = reader["ids"]
        assert (again.key_dtype, again.value_dtype) == (np.dtype("u8"), WIDE)
        assert again[1][0] == b"name"
        with pytest.raises(vasmem.PermissionDenied):
            again[2] = table[1]
    with pytest.raises(vasmem.WrongType, match="uint64"):
        segment.hashmap("ids", key="i8", value=WIDE)
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("ids")
    segment.hashmap("plain")
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("plain", key="u8", value="u8")
    with pytest.raises(KeyError):
        segment.hashmap("other", key="u8", value="u8", create=False)
    kinds = {facts["name"]: facts["kind"] for facts in segment.info()["structures"]}
    assert kinds == {"ids": "hashmap typed", "plain": "hashmap"}
    copy = pickle.loads(pickle.dumps(table))
    assert copy[1][0] == table[1][0] == b"name"
    copy.segment.close()
    del segment["ids"]
    with pytest.raises(vasmem.VasmemError, match="removed"):
        table[1]


def test_in_transactions(segment: vasmem.Segment) -> None:
    table = segment.hashmap("ids", key="u8", value="i8")
    numbers = np.arange(2000)
    with pytest.raises(ZeroDivisionError), segment.transaction():
        table.put_many(numbers, numbers)
        assert table.get_many(numbers)[0].tolist() == numbers.tolist()
        assert table.delete_many(numbers[:10]).all()
        assert len(table) == 1990
        raise ZeroDivisionError
    assert len(table) == 0
    with segment.transaction():
        table.put_many(numbers, -numbers)
        segment.hashmap("other", key="i2", value="i2")[1] = 2
    assert table.items_array()[1].sum() == -numbers.sum()

    @segment.atomic
    def swap(a: int, b: int) -> None:
        table[a], table[b] = table[b], table[a]

    swap(1, 2)
    assert (table[1], table[2]) == (-2, -1)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "delete", "many", "drop", "incr"]),
            st.integers(0, 300),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=60,
    )
)
def test_against_dict(make: Make, steps: list[tuple[str, int, int]]) -> None:
    with make(f"model-{next(NUMBERS)}") as segment:
        table = segment.hashmap("t", key="i8", value="i8")
        model: dict[int, int] = {}
        for what, key, value in steps:
            if what == "put":
                table[key] = model[key] = value
            elif what == "delete":
                assert table.pop(key, None) == model.pop(key, None)
            elif what == "many":
                keys = np.arange(key, key + 200)
                table.put_many(keys, keys * 3)
                model.update((number, number * 3) for number in keys.tolist())
            elif what == "drop":
                keys = np.arange(key, key + 50)
                gone = [model.pop(number, None) is not None for number in keys.tolist()]
                assert table.delete_many(keys).tolist() == gone
            else:
                model[key] = model.get(key, 0) // 2 + 1
                table.modify(key, lambda value: value // 2 + 1, 0)
        assert dict(table) == model
        assert len(table) == len(model)
        assert segment.check() == []
