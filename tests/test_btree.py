"""The B-tree against sortedcontainers.SortedDict, and what only it has."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from contract import check_mapping
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sortedcontainers import SortedDict

import vasmem
from vasmem._core import encode_key

Url = Callable[[str], str]

numbers = (
    st.integers(-50, 50)
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.integers(-50, 50).map(lambda number: number / 4)
)
texts = st.text(max_size=3) | st.text("ab", max_size=12) | st.sampled_from(["x" * 50, "x" * 6000])
# Keys of one kind each, since Python compares no others.
KINDS = {
    "numbers": numbers,
    "text": texts,
    "bytes": st.binary(max_size=3) | st.binary(max_size=40).map(lambda tail: b"prefix/" + tail),
    "tuples": st.tuples(st.integers(-3, 3)) | st.tuples(st.integers(-3, 3), numbers),
    "raw": st.binary(max_size=3) | st.binary(max_size=40).map(lambda tail: bytes(9) + tail),
}
FILLED = {
    "numbers": lambda number: number * 3,
    "text": lambda number: f"ab{number:05}",
    "bytes": lambda number: b"prefix/%d" % number,
    "tuples": lambda number: (number % 7 - 3, number),
    "raw": lambda number: bytes(9) + b"%d" % number,
}


class TreeModel(RuleBasedStateMachine):
    """The tree against a SortedDict, through two handles, one read-only."""

    url = ""
    kind = "numbers"

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url, max_size="1G")
        self.tree: Any = self.make_tree()
        self.reader = vasmem.attach(self.url, readonly=True)
        self.seen: Any = self.reader["tree"]
        self.model = SortedDict()

    def teardown(self) -> None:
        violations = self.segment.check()
        self.reader.close()
        self.segment.close()
        vasmem.remove(self.url)
        assert violations == []

    def make_tree(self) -> Any:
        return self.segment.btree("tree", raw=self.kind == "raw")

    def a_key(self) -> st.SearchStrategy[Any]:
        fresh = KINDS[self.kind]
        return st.sampled_from(list(self.model)) | fresh if self.model else fresh

    def a_value(self) -> st.SearchStrategy[bytes]:
        return st.sampled_from([0, 1, 100, 101, 5000]).map(bytes) | st.binary(max_size=9)

    @initialize(count=st.sampled_from([0, 0, 5, 60, 3000]), sort=st.booleans())
    def fill(self, count: int, sort: bool) -> None:
        items = {FILLED[self.kind](number): b"%d" % number for number in range(count)}
        pairs = sorted(items.items()) if sort else list(items.items())
        self.tree.update(pairs)
        self.model.update(pairs)

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        key, value = data.draw(self.a_key()), data.draw(self.a_value())
        self.tree[key] = value
        self.model[key] = value

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(self.a_key())
        assert self.tree.pop(key, None) == self.model.pop(key, None)

    @rule(data=st.data(), sort=st.booleans())
    def update(self, data: st.DataObject, sort: bool) -> None:
        pairs = data.draw(st.lists(st.tuples(self.a_key(), self.a_value()), max_size=150))
        pairs = sorted(pairs) if sort else pairs
        self.tree.update(pairs)
        self.model.update(pairs)

    @rule(data=st.data())
    def batches(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(self.a_key(), max_size=20))
        assert self.seen.get_many(keys, 5) == [self.model.get(key, 5) for key in keys]
        some = keys[:4]
        assert self.tree.delete_many(some) == len({key for key in some if key in self.model})
        for key in some:
            self.model.pop(key, None)

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        key = data.draw(self.a_key())
        for tree in (self.tree, self.seen):
            assert tree.get(key) == self.model.get(key)
            assert (key in tree) == (key in self.model)
            assert tree.bisect_left(key) == self.model.bisect_left(key)
            assert tree.bisect_right(key) == tree.bisect(key) == self.model.bisect(key)
        if key in self.model:
            assert self.tree.index(key) == self.model.index(key)

    @rule(data=st.data(), inclusive=st.tuples(st.booleans(), st.booleans()), reverse=st.booleans())
    def ranges(self, data: st.DataObject, inclusive: tuple[bool, bool], reverse: bool) -> None:
        low = data.draw(st.none() | self.a_key())
        high = data.draw(st.none() | self.a_key())
        expected = list(self.model.irange(low, high, inclusive, reverse))
        assert list(self.seen.irange(low, high, inclusive, reverse)) == expected
        found = list(self.tree.items().irange(low, high, inclusive, reverse))
        assert found == [(key, self.model[key]) for key in expected]

    @rule(data=st.data(), reverse=st.booleans())
    def slices(self, data: st.DataObject, reverse: bool) -> None:
        bound = st.none() | st.integers(-len(self.model) - 2, len(self.model) + 2)
        start, stop = data.draw(bound), data.draw(bound)
        step = data.draw(st.sampled_from([None, 1, 2, -1, -3]))
        found = list(self.seen.islice(start, stop, reverse))
        assert found == list(self.model.islice(start, stop, reverse))
        part = slice(start, stop, step)
        assert self.seen.keys()[part] == self.model.keys()[part]
        assert self.seen.values()[part] == self.model.values()[part]
        assert self.seen.items()[part] == self.model.items()[part]

    @rule(data=st.data())
    def neighbours(self, data: st.DataObject) -> None:
        key = data.draw(self.a_key())
        below, above = self.model.bisect_left(key), self.model.bisect_right(key)
        item = self.model.items().__getitem__
        assert self.seen.lower(key) == (item(below - 1) if below else None)
        assert self.seen.floor(key) == (item(above - 1) if above else None)
        assert self.seen.ceiling(key) == (item(below) if below < len(self.model) else None)
        assert self.seen.higher(key) == (item(above) if above < len(self.model) else None)

    @rule(data=st.data())
    def prefixes(self, data: st.DataObject) -> None:
        if self.kind == "numbers":
            return
        key = data.draw(self.a_key())
        prefix = key[: data.draw(st.integers(0, len(key)))]
        expected = [other for other in self.model if other[: len(prefix)] == prefix]
        assert list(self.seen.prefix(prefix)) == expected
        assert list(self.seen.prefix(prefix, reverse=True)) == expected[::-1]

    @rule(data=st.data())
    def cursors(self, data: st.DataObject) -> None:
        key = data.draw(self.a_key())
        cursor, items = self.seen.cursor(), self.model.items()
        at = self.model.bisect_left(key)
        assert cursor.seek(key) == (items[at] if at < len(items) else None)
        for move in data.draw(st.lists(st.sampled_from([1, 1, -1]), max_size=8)):
            at = max(-1, min(len(items), at + move))
            found = cursor.next() if move > 0 else cursor.prev()
            assert found == (items[at] if 0 <= at < len(items) else None)
            assert cursor.key == (found[0] if found else None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from([0, -1]) | st.integers(0, len(self.model) - 1))
        assert self.seen.peekitem(index) == self.model.peekitem(index)
        assert self.tree.popitem(index) == self.model.popitem(index)

    @rule(data=st.data(), keep=st.booleans())
    def together(self, data: st.DataObject, keep: bool) -> None:
        pairs = data.draw(st.lists(st.tuples(self.a_key(), self.a_value()), max_size=120))
        trial = self.model.copy()
        try:
            with self.segment.transaction():
                for number, (key, value) in enumerate(pairs):
                    if number % 4 == 3:
                        assert self.tree.pop(key, None) == trial.pop(key, None)
                    else:
                        self.tree[key] = value
                        trial[key] = value
                    assert self.tree.get(key) == trial.get(key)
                assert list(self.tree.items()) == list(trial.items())
                assert list(self.seen.items()) == list(self.model.items()), "seen too early"
                if not keep:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return
        self.model = trial

    @rule()
    def clear(self) -> None:
        self.tree.clear()
        self.model.clear()

    @invariant()
    def equal(self) -> None:
        assert len(self.seen) == len(self.model)
        assert list(self.seen.items()) == list(self.model.items())
        assert list(reversed(self.seen)) == list(reversed(self.model))


@pytest.mark.parametrize("kind", KINDS)
def test_against_sorteddict(url: Url, kind: str) -> None:
    model = type("Model", (TreeModel,), {"url": url("model"), "kind": kind})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_encoded_tree_is_a_mapping(segment: vasmem.Segment) -> None:
    items = {"ada": {"balance": 10}, 2: [1, "two", None], (3, b"x"): (3.5, True), None: "none"}
    check_mapping(segment.btree("tree"), items)


def test_raw_tree_is_a_mapping(segment: vasmem.Segment) -> None:
    check_mapping(segment.btree("tree", raw=True), {b"a": b"", b"": b"1", b"\0": bytes(9000)})


@given(st.lists(numbers | texts | st.tuples(numbers, texts), max_size=30))
def test_encodings_sort_as_their_keys(keys: list[Any]) -> None:
    for kind in (int | float, str, tuple):
        chosen = [key for key in keys if isinstance(key, kind)]
        found = sorted(chosen, key=encode_key)
        assert found == sorted(chosen)


def test_kinds_of_keys_have_an_order(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    keys = [None, -math.inf, -(2**90), -1, 0.5, 1, "", "a", b"", b"a", (), (1,), (1, "a"), ("a",)]
    tree.update(dict.fromkeys(reversed(keys)))
    assert list(tree) == keys
    assert tree.peekitem(0) == (None, None)
    assert list(tree.irange("", ())) == ["", "a", b"", b"a", ()]


def test_a_prefix_of_a_tuple_is_of_whole_items(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    tree.update(dict.fromkeys([(5,), (5, 1), (5, "a"), (5.5,), (5.5, 1), (55,), ("5",), (6,)]))
    assert list(tree.prefix((5,))) == [(5,), (5, 1), (5, "a")]
    assert list(tree.items().prefix((5.5,))) == [((5.5,), None), ((5.5, 1), None)]
    assert len(list(tree.prefix(()))) == len(tree)
    for whole in (5, None, 5.5):
        with pytest.raises(vasmem.WrongType, match="beginning"):
            tree.prefix(whole)


def test_atomic_operations_and_views_are_those_of_a_map(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    assert tree.add("a", 1)
    assert not tree.add("a", 2)
    assert tree.incr("a", 2) == 3
    assert tree.compare_and_set("a", 3, 4)
    assert tree.modify("a", lambda value: value + 1) == 5
    assert tree.setdefault("b", b"bytes") == b"bytes"
    with tree.view("b") as view:
        tree["b"] = b"other"
        assert view == b"bytes"
    with pytest.raises(vasmem.WrongType, match="is not raw"):
        segment.btree("tree", raw=True)
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("tree")
    assert type(segment["tree"]) is vasmem.BTree
    assert len(pickle.loads(pickle.dumps(tree))) == 2


def test_what_cannot_work_is_refused_with_a_reason(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    tree |= {1: "one"}
    with pytest.raises(TypeError, match="no copy"):
        tree.copy()
    with pytest.raises(TypeError, match="fromkeys"):
        vasmem.BTree.fromkeys([1])
    for either in (lambda: tree | {}, lambda: {} | tree):
        with pytest.raises(TypeError, match="place"):
            either()
    with pytest.raises(IndexError):
        tree.peekitem(1)
    with pytest.raises(IndexError):
        tree.popitem(-2)
    with pytest.raises(ValueError, match="is not in"):
        tree.index(2)
    with pytest.raises(ValueError, match="is not in"):
        tree.index(1, 1)
    with pytest.raises(vasmem.WrongType, match="tuple"):
        tree[[]] = 1
    assert dict(tree) == {1: "one"}


def test_views_are_sets_and_sequences(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    model = SortedDict({number: number % 3 for number in range(0, 500, 5)})
    tree.update(model)
    keys, items, values = tree.keys(), tree.items(), tree.values()
    assert keys[3] == 15
    assert keys[-1] == 495
    assert items[7] == (35, 2)
    assert values[7] == 2
    assert keys & {5, 6} == {5}
    assert (5, 2) in items
    assert (5, 1) not in items
    assert 5 not in items
    assert values.count(2) == model.values().count(2)
    assert keys.count(5) == 1
    assert keys.index(15) == 3
    assert list(reversed(values)) == list(reversed(model.values()))
    with pytest.raises(IndexError):
        keys[100]


def test_long_keys_and_their_neighbours(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree", raw=True)
    keys = [b"x" * size for size in (0, 1, 7, 8, 9, 100, 4000, 4096, 5000, 70_000, 1 << 20)]
    for key in keys:
        tree[key] = key[:10]
    tree.update({key + b"y": b"" for key in keys[:-1]})
    assert len(list(tree.prefix(b"x" * 4000))) == 9
    assert tree.peekitem() == (b"y", b"")
    assert [key for key in tree if not key.endswith(b"y")] == keys
    assert tree[keys[-1]] == b"x" * 10
    with pytest.raises(ValueError, match="1048577 bytes"):
        tree[b"x" * ((1 << 20) + 1)] = b""
    assert tree.delete_many(keys) == len(keys)


def test_iteration_goes_on_whatever_others_do(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    stay = list(range(0, 20_000, 10))
    tree.update(dict.fromkeys(stay, 0))
    found = []
    for number, key in enumerate(tree):
        found.append(key)
        if number % 100 == 0:
            tree.update({other: 1 for other in range(number * 7, number * 7 + 300) if other % 10})
            tree.delete_many([other for other in range(number * 5, number * 5 + 400) if other % 10])
    assert found == sorted(found)
    assert [key for key in found if key % 10 == 0] == stay
    cursor = tree.cursor()
    cursor.seek(500)
    tree.delete_many(range(400, 600))
    assert cursor.key == 500
    assert cursor.next() == (tree.higher(500))
    assert cursor.prev() == (tree.lower(500))


def test_a_tree_that_is_removed_is_noticed(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree")
    tree.update(dict.fromkeys(range(5000), "x" * 50))
    iterator = iter(tree)
    next(iterator)
    del segment["tree"]
    with pytest.raises(vasmem.VasmemError, match="removed"):
        list(iterator)
    with pytest.raises(vasmem.VasmemError, match="removed"):
        tree[1] = 1
    assert "tree" not in segment
    assert len(segment.btree("tree")) == 0


def test_a_large_tree_is_removed_in_pieces(segment: vasmem.Segment) -> None:
    tree = segment.btree("tree", raw=True)
    before = segment.used
    for first in range(0, 1_100_000, 100_000):
        keys = [b"%07d" % number for number in range(first, first + 100_000)]
        tree.put_many(keys, [b""] * len(keys))
    assert len(tree) == 1_100_000 > 1 << 20
    (facts,) = segment.info()["structures"]
    assert facts["kind"] == "btree raw"
    assert 0.8 < facts["load"] < 1, "sorted input fills leaves"
    assert tree.keys()[777_777] == b"0777777"
    with pytest.raises(KeyboardInterrupt), segment.transaction():
        del segment["tree"]
        raise KeyboardInterrupt
    assert len(tree) == 1_100_000
    del segment["tree"]
    assert list(segment) == []
    # Granules stay with their kinds, and serve the next tree.
    used = segment.used
    segment.btree("tree", raw=True).put_many(keys, [b""] * len(keys))
    assert before < segment.used == used
