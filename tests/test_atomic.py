"""Operations of a map that look and change as one, and those that take many keys."""

import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import vasmem

COUNTING = """
import sys
import vasmem

segment = vasmem.attach(sys.argv[1])
counts = segment.hashmap("counts")
for number in range(2_000):
    counts.incr("total")
    counts.modify("words", lambda words: [words[0] + 1, *words[1:]], [0, "x"])
    while True:
        old = counts["stepped"]
        if counts.compare_and_set("stepped", old, old + 1):
            break
    if counts.add(("first", number), sys.argv[2]):
        counts.incr(sys.argv[2])
"""


def test_nothing_is_lost_between_processes(segment: vasmem.Segment) -> None:
    counts = segment.hashmap("counts")
    counts["stepped"] = 0
    command = [sys.executable, "-c", COUNTING, segment.url]
    children = [subprocess.Popen([*command, name]) for name in ("one", "two", "three")]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert counts["total"] == counts["stepped"] == 6_000
    assert counts["words"] == [6_000, "x"]
    assert sum(counts.get(name, 0) for name in ("one", "two", "three")) == 2_000


def test_each_item_is_popped_once(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users.update((number, -number) for number in range(5_000))
    popped: list[list[tuple[Any, Any]]] = [[], []]

    def pop(into: list[tuple[Any, Any]]) -> None:
        handle = segment.hashmap("users")
        while True:
            try:
                into.append(handle.popitem())
            except KeyError:
                return

    threads = [threading.Thread(target=pop, args=[into]) for into in popped]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(popped[0] + popped[1]) == [(number, -number) for number in range(5_000)]
    with pytest.raises(KeyError, match='"users" is empty'):
        users.popitem()


def test_incr_adds_numbers_only(segment: vasmem.Segment) -> None:
    counts = segment.hashmap("counts")
    assert counts.incr("n") == 1
    assert counts.incr("n", 2**70) == 2**70 + 1
    assert counts.incr("n", -(2**70)) == 1
    assert counts.incr("f", 0.5) == 0.5
    assert counts.incr("f") == 1.5
    counts["text"] = "one"
    with pytest.raises(vasmem.WrongType, match="key 'text' in hash map \"counts\" is str"):
        counts.incr("text")
    for by in ("1", None, True, [1]):
        if by is not None:
            with pytest.raises(vasmem.WrongType, match="an int or a float, not"):
                counts.incr("n", by)
    with pytest.raises(vasmem.WrongType, match="raw"):
        segment.hashmap("raw", raw=True).incr(b"n")
    assert dict(counts) == {"n": 1, "f": 1.5, "text": "one"}


def test_compare_and_set_compares_as_python_does(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    assert not users.compare_and_set("a", None, 1), "a key that is not there has no value"
    users["a"] = 1
    assert users.compare_and_set("a", 1.0, {"x": 1, "y": 2})
    assert users.compare_and_set("a", {"y": 2, "x": 1}, np.arange(3))
    assert not users.compare_and_set("a", np.arange(4), 2)
    assert users.compare_and_set("a", np.arange(3), b"x" * 10_000)
    assert users.compare_and_set("a", b"x" * 10_000, b"y" * 9_000)
    assert not users.compare_and_set("a", b"x" * 9_000, 0)
    assert users["a"] == b"y" * 9_000


def test_modify(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    with pytest.raises(KeyError) as caught:
        users.modify("a", lambda value: value)
    assert caught.value.args == ("a",)
    assert users.modify("a", lambda value: [*value, 1], []) == [1]

    def meddle(value: list[int]) -> list[int]:
        if len(value) < 3:
            users["a"] = [*value, 7]
        return [*value, 8]

    assert users.modify("a", meddle) == [1, 7, 7, 8], "not what was read any more, so again"
    with pytest.raises(TypeError):
        users.modify("a", lambda value: value / 0)
    with pytest.raises(vasmem.WrongType):
        users.modify("a", iter)
    assert users["a"] == [1, 7, 7, 8]


def test_defaults(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    assert users.pop("a", None) is None
    assert users.setdefault("n") is None
    assert users.pop("n") is None
    for name in ("pop", "modify"):
        arguments = ("a", str) if name == "modify" else ("a",)
        with pytest.raises(TypeError, match="at most one default"):
            getattr(users, name)(*arguments, 1, 2)


def test_inside_a_transaction_they_belong_to_it(segment: vasmem.Segment) -> None:
    users, outside = segment.hashmap("users"), vasmem.attach(segment.url, readonly=True)
    users["gone"] = "x"
    with outside, segment.transaction():
        users.incr("n", 5)
        assert users.add("a", 1)
        assert users.compare_and_set("a", 1, 2)
        assert users.modify("a", lambda value: value + 1) == 3
        assert users.pop("gone") == "x"
        users.put_many(["b", "c"], [1, 2])
        assert users.get_many(["a", "b", "gone"]) == [3, 1, None]
        assert users.delete_many(["c", "c", "d"]) == 1
        assert dict(outside["users"]) == {"gone": "x"}
    assert dict(users) == {"n": 5, "a": 3, "b": 1}


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", ">i4", "i8", "u8", ">u8"])
def test_arrays_of_ints_are_ints(segment: vasmem.Segment, dtype: str) -> None:
    limits = np.iinfo(dtype)
    keys = np.unique(np.linspace(limits.min, limits.max, 50).astype(object) // 1)
    array = np.array(sorted({limits.min, limits.max, 0, 1, *map(int, keys[1:-1])}), dtype)
    squares = segment.hashmap("squares")
    squares.put_many(array, array)
    assert dict(squares) == {int(key): int(key) for key in array}
    assert all(type(value) is int for value in squares.values())
    assert squares.get_many(array) == [int(key) for key in array]
    assert squares.delete_many(array[::2]) == len(array[::2])
    assert set(squares) == {int(key) for key in array[1::2]}


def test_arrays_in_a_raw_map_are_their_bytes(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    keys = np.array([1, 2**40, 2**64 - 1], ">u8")
    blobs.put_many(keys, np.array([b"a", b"bc", b""], "S3"))
    expected = {
        int(key).to_bytes(8, "little"): value for key, value in zip(keys, VALUES, strict=True)
    }
    assert dict(blobs) == expected
    assert blobs.get_many(keys) == list(VALUES)
    assert blobs.get_many(np.array([b"nothing"], "S8"), b"default") == [b"default"]


VALUES = (b"a\0\0", b"bc\0", b"\0\0\0")


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", [list, tuple, iter, lambda keys: np.array(keys, "S5")])
def test_batches_of_every_kind(
    segment: vasmem.Segment, raw: bool, kind: Callable[[list[bytes]], Any]
) -> None:
    blobs = segment.hashmap("blobs", raw=raw)
    keys = [b"%05d" % number for number in range(3_000)]
    blobs.put_many(kind(keys), kind(keys))
    blobs.put_many(kind(keys[:10]), kind(keys[1:11]))
    expected = dict(zip(keys, keys, strict=True)) | dict(pairwise(keys[:11]))
    assert dict(blobs) == expected
    assert blobs.get_many(kind(keys)) == list(expected.values())
    assert blobs.delete_many(kind(keys[5:])) == len(keys) - 5
    assert blobs.get_many(kind(keys[:6]), 0) == [*keys[1:6], 0]
    assert blobs.get_many(kind([])) == []


def test_what_is_no_batch(segment: vasmem.Segment) -> None:
    users, blobs = segment.hashmap("users"), segment.hashmap("blobs", raw=True)
    with pytest.raises(ValueError, match="2 keys and 1 values"):
        users.put_many([1, 2], [1])
    with pytest.raises(ValueError, match="one dimension"):
        users.get_many(np.zeros((2, 2), "i8"))
    with pytest.raises(TypeError):
        users.get_many(5)
    with pytest.raises(vasmem.WrongType, match="bytes, not str"):
        blobs.put_many([b"a", "b"], [b"1", b"2"])
    with pytest.raises(vasmem.WrongType):
        users.put_many([1, [2]], [1, 2])
    with pytest.raises(vasmem.WrongType):
        users.put_many([1, 2], [1, object()])
    with pytest.raises(ValueError, match="at most 4000"):
        blobs.put_many([b"a", b"x" * 5_000], [b"1", b"2"])
    assert len(users) == 0


def test_update_takes_what_dict_takes(segment: vasmem.Segment) -> None:
    class Keys:
        def keys(self) -> list[int]:
            return [1, 2]

        def __getitem__(self, key: int) -> int:
            return -key

    users = segment.hashmap("users")
    users.update({"a": 1}, b=2)
    users.update([("c", 3), ["d", 4]], a=5)
    users.update(Keys())
    users.update((number, number) for number in range(10, 2_500))
    users.update()
    expected = {"a": 5, "b": 2, "c": 3, "d": 4, 1: -1, 2: -2} | {n: n for n in range(10, 2_500)}
    assert dict(users) == expected
    with pytest.raises(ValueError, match="unpack"):
        users.update([(1, 2, 3)])
    users.clear()
    assert dict(users) == {}
