import pickle
from collections.abc import Callable, MutableSet
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kills import ended_well, forked
from test_hashmap import keys

import vasmem

Url = Callable[[str], str]


class Sets(RuleBasedStateMachine):
    """A set of a segment against one of the process's own."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url)
        self.set: vasmem.Set[Any] = self.segment.set("s")
        self.model: set[Any] = set()

    @rule(key=keys)
    def add(self, key: Any) -> None:
        assert self.set.add(key) is None
        self.model.add(key)

    @rule(key=keys)
    def add_new(self, key: Any) -> None:
        assert self.set.add_new(key) == (key not in self.model)
        self.model.add(key)

    @rule(key=keys)
    def discard(self, key: Any) -> None:
        self.set.discard(key)
        self.model.discard(key)

    @rule(key=keys)
    def remove(self, key: Any) -> None:
        if key in self.model:
            self.set.remove(key)
            self.model.remove(key)
        else:
            with pytest.raises(KeyError):
                self.set.remove(key)

    @rule()
    def pop(self) -> None:
        if self.model:
            self.model.remove(self.set.pop())
        else:
            with pytest.raises(KeyError):
                self.set.pop()

    @rule(other=st.sets(keys, max_size=5))
    def unite(self, other: set[Any]) -> None:
        self.set |= other
        self.model |= other

    @rule(other=st.sets(keys, max_size=5))
    def intersect(self, other: set[Any]) -> None:
        self.set &= other
        self.model &= other

    @rule(other=st.sets(keys, max_size=5))
    def subtract(self, other: set[Any]) -> None:
        self.set -= other
        self.model -= other

    @rule(other=st.sets(keys, max_size=5))
    def toggle(self, other: set[Any]) -> None:
        self.set ^= other
        self.model ^= other

    @rule(others=st.lists(st.lists(keys, max_size=3), max_size=3))
    def update(self, others: list[list[Any]]) -> None:
        self.set.update(*others)
        self.model.update(*others)

    @rule(many=st.lists(keys, max_size=4, unique=True))
    def many(self, many: list[Any]) -> None:
        assert self.set.contains_many(many) == [key in self.model for key in many]
        assert self.set.discard_many(many) == len(self.model & set(many))
        self.model -= set(many)

    @rule()
    def undone(self) -> None:
        with pytest.raises(ZeroDivisionError), self.segment.transaction():
            self.set.add("undone")
            self.set.clear()
            assert len(self.set) == 0
            _ = 1 / 0

    @rule()
    def clear(self) -> None:
        self.set.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        assert len(self.set) == len(self.model)
        assert self.set == self.model

    def teardown(self) -> None:
        assert self.segment.check() == []
        self.segment.close()
        vasmem.remove(self.url)


def test_is_a_set(url: Url) -> None:
    machine = type("Machine", (Sets,), {"url": url("machine")})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=30))


def test_grows(segment: vasmem.Segment) -> None:
    numbers = segment.set("numbers")
    numbers.update(range(5_000))
    numbers.add_many(np.arange(4_000, 6_000))
    assert isinstance(numbers, MutableSet)
    assert (len(numbers), sorted(numbers)) == (6_000, list(range(6_000)))
    assert numbers.contains_many([0, -1]) == [True, False]
    assert (numbers & {1, 2, "x"}, type(numbers & {1})) == ({1, 2}, set)
    numbers -= numbers
    assert len(numbers) == 0


def test_is_one_thing_by_its_name(segment: vasmem.Segment) -> None:
    segment.set("s").add("a")
    segment.set("raw", raw=True).add(b"a")
    assert [type(segment[name]) for name in ("s", "raw")] == [vasmem.Set] * 2
    assert (set(segment["s"]), set(segment["raw"])) == ({"a"}, {b"a"})
    handle = pickle.loads(pickle.dumps(segment["raw"]))
    assert b"a" in handle
    handle.segment.close()
    for wrong in (
        lambda: segment.hashmap("s"),
        lambda: segment.hashmap("raw", raw=True),
        lambda: segment.set("raw"),
        lambda: segment.set("s", raw=True),
        lambda: segment.counter("s"),
        lambda: segment.set(segment.hashmap("map").name),
        lambda: segment["raw"].add("text"),
    ):
        with pytest.raises(vasmem.WrongType):
            wrong()
    kinds = {found["name"]: found["kind"] for found in segment.info()["structures"]}
    assert kinds == {"s": "set", "raw": "set raw", "map": "hashmap"}
    assert repr(segment["s"]) == f"<Set 's' in {segment.name!r}, 1 keys>"
    old = segment["s"]
    del segment["s"]
    with pytest.raises(vasmem.VasmemError, match="removed"):
        old.add("b")


def test_one_of_many_is_told_that_a_key_is_new(segment: vasmem.Segment) -> None:
    claimed, won = segment.set("claimed"), segment.counter("won")

    def claim() -> None:
        for number in range(500):
            if claimed.add_new(number):
                won.incr()

    assert ended_well([forked(claim) for _ in range(4)])
    assert won.value == len(claimed) == 500
