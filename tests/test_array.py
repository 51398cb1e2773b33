"""Arrays: opening them, indexing, growth, views, and what numpy sees in a handle."""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vasmem

Make = Callable[..., vasmem.Segment]

DTYPES = [
    "?",
    "i1",
    "u1",
    "i2",
    "u4",
    "i8",
    ">i8",
    "f2",
    "f4",
    ">f8",
    "g",
    "c8",
    "c16",
    "G",
    "S5",
    "U3",
    "V7",
    "M8[ns]",
    "m8[3D]",
    [("price", "f8"), ("name", "S3")],
    [("a", "u1"), ("b", [("c", ">i2"), ("d", "f4", (2, 3))])],
    np.dtype([("a", "u1"), ("b", "f8")], align=True),
    ("f4", (2, 2)),
    ("i2", 3),
]


def noise(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> np.ndarray[Any, Any]:
    """An array of any dtype whose values come back from bytes."""
    count = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind in "bfcU":
        return (np.arange(np.prod(shape)) % 7).astype(dtype).reshape(shape)
    data = np.random.default_rng(seed).integers(0, 100, count).astype("u1")
    rows = np.zeros(shape, dtype)
    rows[...] = np.ndarray(shape, dtype, data)
    return rows


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_fixed_size_dtype(segment: vasmem.Segment, dtype: Any) -> None:
    wanted = np.dtype(dtype)
    array = segment.array("array", (6, 2), dtype)
    assert (array.dtype, array.shape) == (wanted.base, (6, 2, *wanted.shape))
    assert array.read().tobytes() == bytes(array.nbytes)
    values = noise(array.shape, array.dtype)
    array[...] = values
    assert np.array_equal(array.read(), values)
    array.view[1:3] = values[:2]
    values[1:3] = values[:2].copy()
    array[4, 1] = values[0, 0]
    values[4, 1] = values[0, 0]
    array.extend(values[:3])
    again = segment["array"]
    assert (again.dtype, again.shape) == (array.dtype, (9, *array.shape[1:]))
    model = np.zeros(again.shape, again.dtype)
    model[:6], model[6:] = values, values[:3]
    assert np.array_equal(again.read(), model)
    assert again.view.ctypes.data % 64 == 0


@pytest.mark.parametrize("dtype", ["O", [("a", "O")], "S", "V0", "no dtype"], ids=str)
def test_other_dtypes_are_refused(segment: vasmem.Segment, dtype: Any) -> None:
    with pytest.raises(vasmem.WrongType):
        segment.array("array", 3, dtype)
    assert "array" not in segment


@pytest.mark.parametrize("shape", [(), (-1,), (3, 0), (2, -1), (1,) * 40], ids=str)
def test_other_shapes_are_refused(segment: vasmem.Segment, shape: Any) -> None:
    with pytest.raises(ValueError, match="shape"):
        segment.array("array", shape, "f8")


def test_opening(segment: vasmem.Segment) -> None:
    with pytest.raises(KeyError):
        segment.array("array", 3, "f8", create=False)
    with pytest.raises(ValueError, match="give shape and dtype"):
        segment.array("array", 3)
    made = segment.array("array", (3, 2), "f8")
    made.resize(5)
    for again in [
        segment.array("array"),
        segment.array("array", (100, 2), "f8"),
        segment.array("array", dtype="f8"),
        segment.array("array", create=False),
    ]:
        assert again.shape == (5, 2)
    with pytest.raises(vasmem.WrongType, match="float64, not float32"):
        segment.array("array", (3, 2), "f4")
    with pytest.raises(vasmem.WrongType, match=r"\(2,\), not \(3,\)"):
        segment.array("array", (3, 3), "f8")
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("array")
    segment.hashmap("map")
    with pytest.raises(vasmem.WrongType):
        segment.array("map", 3, "f8")
    facts = {row["name"]: row for row in segment.info()["structures"]}
    assert (facts["array"]["kind"], facts["array"]["length"]) == ("array", 5)


INDICES: list[Any] = [
    0,
    -1,
    np.int32(3),
    slice(None),
    slice(2, 5),
    slice(5, 2),
    slice(None, None, -1),
    slice(8, 1, -3),
    slice(1, None, 4),
    ...,
    None,
    (2, 1),
    (slice(1, 4), 2),
    (slice(None), slice(0, 2)),
    (..., 1),
    [],
    [3],
    [3, 1, 3, -1],
    np.array([[1, 2], [9, 1]]),
    np.arange(10) % 3 == 0,
    ([1, 2, 5], [0, 1, 2]),
    ([1, 2], slice(1, 3)),
    (np.arange(10) > 7, 1),
    np.arange(30).reshape(10, 3) % 4 == 1,
    (slice(3, 5), None),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indices_are_those_of_numpy(segment: vasmem.Segment, index: Any) -> None:
    model = np.arange(30, dtype="i4").reshape(10, 3)
    array = segment.array("array", (10, 3), "i4")
    array[:] = model
    expected = model[index]
    found = array[index]
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)
    assert np.shape(found) == np.shape(expected)
    for value in (7, np.arange(100, 100 + expected.size).reshape(expected.shape)):
        model[index] = value
        array[index] = value
        assert np.array_equal(array.read(), model)


@pytest.mark.parametrize("index", [10, -11, [3, 10], [True], "a", 1.5, (0, 3), (0, 0, 0)], ids=repr)
def test_bad_indices_raise_as_in_numpy(segment: vasmem.Segment, index: Any) -> None:
    model = np.zeros((10, 3))
    array = segment.array("array", (10, 3), "f8")
    with pytest.raises(IndexError):
        model[index]
    with pytest.raises(IndexError):
        array[index]
    with pytest.raises(IndexError):
        array[index] = 1


def test_bad_values_change_nothing(segment: vasmem.Segment) -> None:
    array = segment.array("array", (10, 3), "f8")
    for index, value in [(slice(None), [1, 2]), (0, "word"), (slice(0, 2), np.zeros((3, 3)))]:
        with pytest.raises((ValueError, TypeError)):
            array[index] = value
    for items in ([[1, 2]], 3, [["a", "b", "c"]]):
        with pytest.raises(ValueError, match=r"shape|convert"):
            array.extend(items)
    assert not array.read().any()
    assert len(array) == 10


def test_fields_are_assigned_alone(segment: vasmem.Segment) -> None:
    dtype = np.dtype([("id", "u4"), ("price", "f8"), ("tag", "S3")])
    array = segment.array("array", 100, dtype)
    model = np.zeros(100, dtype)
    for target in (model, array):
        target["price"] = np.arange(100)
        target[3] = (7, 2.5, b"abc")
        target[["id", "tag"]] = np.array([(i, b"x") for i in range(100)], dtype[["id", "tag"]])
    assert np.array_equal(array.read(), model)
    assert array[3] == model[3]
    assert np.array_equal(array["price"], model["price"])


def test_growth(segment: vasmem.Segment) -> None:
    array = segment.array("array", 0, "i8")
    assert array.view.shape == (0,)
    for number in range(1000):
        array.append(number)
    array.extend(range(1000, 3000))
    array.extend([])
    assert np.array_equal(array.read(), np.arange(3000))
    array.resize(10)
    assert array[-1] == 9
    array.resize(20)
    assert list(array) == [*range(10), *[0] * 10]
    with pytest.raises(ValueError, match="-1 rows"):
        array.resize(-1)
    with pytest.raises(vasmem.SegmentFull):
        array.resize(1 << 40)
    assert len(array) == 20


def test_a_view_is_the_segment_itself(segment: vasmem.Segment) -> None:
    array = segment.array("array", (4, 5), "f4")
    view = array.view
    assert view is array.view
    view[1, 2] = 3
    assert array[1, 2] == 3
    array[2] = 8
    assert (view[2] == 8).all()
    assert vasmem.attach(segment.url).array("array").read()[1, 2] == 3
    assert not array.stale


def test_an_old_view_stays_valid(segment: vasmem.Segment) -> None:
    array = segment.array("array", 1000, "i8")
    assert not array.stale
    view = array.view
    view[:] = np.arange(1000)
    array.append(5)
    assert array.stale
    # In the way, so that growth moves the rows.
    for number in range(20):
        segment.array(f"other {number}", 20_000, "u1")[:] = 255
        array.extend(np.full(5_000, number))
    assert np.array_equal(view, np.arange(1000))
    assert array.stale
    assert np.array_equal(array.view[:1000], view)
    assert not array.stale
    view[0] = -1  # nobody sees it
    assert array[0] == 0
    del array
    assert np.array_equal(view[1:], np.arange(1, 1000))


def test_a_view_outlives_everything(make: Make) -> None:
    segment = make()
    array = segment.array("array", 1000, "i8")
    array[:] = np.arange(1000)
    view = array.view
    del segment["array"]
    other = segment.array("other", 1000, "i8")
    other[:] = -1
    assert view.sum() == 499_500
    with pytest.raises(vasmem.VasmemError, match="removed"):
        array.read()
    segment.close()
    del segment, array, other
    gc.collect()
    assert view.sum() == 499_500
    view[0] = 1
    assert view.sum() == 499_501


def test_views_are_freed(segment: vasmem.Segment) -> None:
    array = segment.array("array", 100_000, "i8")
    for _ in range(30):
        view = array.view
        array[:] = 1
        array.resize(1)
        array.resize(100_000)
        assert view.shape == (100_000,)
    del view
    segment.hashmap("map")["key"] = 1
    for _ in range(300):  # deferred blocks are looked at now and then
        array[0] = 1
    assert segment.used < 8_000_000


def test_updates_of_any_size(segment: vasmem.Segment) -> None:
    model = np.zeros((1500, 1000))
    array = segment.array("array", model.shape, "f8")
    view = array.view
    for target in (model, array):
        target[:, 10:600] = 5
        target[3:7] = np.arange(1000)
        target.update(slice(None), 9) if target is array else target.fill(9)
        target[::2, ::3] = 1
    assert np.array_equal(array.read(), model)
    assert array.stale
    assert view.shape == model.shape


def test_transactions(segment: vasmem.Segment) -> None:
    array = segment.array("array", 10, "i8")
    counts = segment.hashmap("counts")
    with pytest.raises(RuntimeError), segment.transaction():
        array[3] = 7
        array.append(8)
        counts["a"] = 1
        assert (array[3], array[-1], len(array)) == (7, 8, 11)
        assert not array.view.flags.writeable
        assert array.view[3] == 7
        raise RuntimeError
    assert not array.read().any()
    assert (len(array), dict(counts)) == (10, {})
    with segment.transaction():
        array[:] = 1
        with pytest.raises(RuntimeError), segment.transaction():
            array.resize(2)
            array[0] = 5
            raise RuntimeError
        array.extend(array.read())
        counts["a"] = int(array.read().sum())
    assert (len(array), counts["a"], array.read().sum()) == (20, 20, 20)
    with segment.transaction():
        made = segment.array("made", 3, "f8")
        made[1] = 2
        made.append(3)
    assert list(segment.array("made")) == [0, 2, 0, 3]

    @segment.atomic
    def double() -> None:
        array[:] = array.read() * 2

    double()
    assert (array.read() == 2).all()


def test_what_a_transaction_undoes_was_not_given_away(segment: vasmem.Segment) -> None:
    with segment.transaction():
        segment.array("a", (57, 700), "u1")
        with pytest.raises(ZeroDivisionError), segment.transaction():
            del segment["a"]
            # A run for it must not take what the first array gets back.
            segment.array("a", 256, "u1")
            raise ZeroDivisionError
        segment["a"].update(3, 7)
    assert segment["a"].shape == (57, 700)
    assert segment["a"][3].tolist() == [7] * 700


def test_read_only(make: Make) -> None:
    segment = make()
    array = segment.array("array", 10, "i8")
    array[:] = 3
    with vasmem.attach(segment.url, readonly=True) as reader:
        seen = reader.array("array")
        view = seen.view
        assert (view == 3).all()
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1
        with pytest.raises(vasmem.PermissionDenied):
            seen[0] = 1
        with pytest.raises(vasmem.PermissionDenied):
            seen.append(1)
        assert not seen.stale
        array.append(4)
        assert seen.stale
        assert seen.view[-1] == 4
        with pytest.raises(KeyError):
            reader.array("other", 3, "f8", create=False)


def test_numpy_takes_a_handle(segment: vasmem.Segment) -> None:
    array = segment.array("array", (2, 3), "f8")
    array[:] = [[1, 2, 3], [4, 5, 6]]
    assert np.shares_memory(np.asarray(array), array.view)
    assert not np.shares_memory(np.array(array), array.view)
    assert np.asarray(array, "i4").dtype == np.dtype("i4")
    assert np.sum(array) == 21
    assert np.shares_memory(np.from_dlpack(array), array.view)
    assert (array == [[1, 2, 3], [4, 5, 0]]).sum() == 5
    assert (array != array).sum() == 0
    assert 4 in array
    assert [list(row) for row in array] == [[1, 2, 3], [4, 5, 6]]
    assert (array.ndim, array.size, array.nbytes, len(array)) == (2, 6, 48, 2)
    assert "float64, shape (2, 3)" in repr(array)
    with pytest.raises(TypeError):
        hash(array)


def test_handles_are_pickled(segment: vasmem.Segment) -> None:
    array = segment.array("array", 3, "f8")
    array[1] = 5
    again = pickle.loads(pickle.dumps(array))
    assert again.read().tolist() == [0, 5, 0]
    again.segment.close()


def test_closed(make: Make) -> None:
    segment = make()
    array = segment.array("array", 3, "f8")
    segment.close()
    assert "closed here" in repr(array)
    for use in (array.read, lambda: array.view, lambda: array.append(1), lambda: len(array)):
        with pytest.raises(vasmem.VasmemError, match="closed here"):
            use()


def test_a_forked_child(segment: vasmem.Segment) -> None:
    array = segment.array("array", 1000, "i8")
    view = array.view
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            array[1] = 5
            array.view[2] = 6
            array.append(7)
            code = 0 if view[1] == 5 and len(array.view) == 1001 else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert array[:3].tolist() == [0, 5, 6]
    assert (array[-1], view[2]) == (7, 6)


def test_another_process(segment: vasmem.Segment) -> None:
    array = segment.array("array", 3, "f8")
    view = array.view
    program = (
        "import sys, vasmem\n"
        "with vasmem.attach(sys.argv[1]) as segment:\n"
        "    segment['array'].view[1] = 2.5\n"
        "    segment['array'][2] = 3.5\n"
    )
    subprocess.run([sys.executable, "-c", program, segment.url], check=True)
    assert view.tolist() == [0, 2.5, 3.5]
