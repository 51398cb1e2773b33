import math
from collections.abc import Callable
from typing import Any

import pytest
from contract import check_mapping
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import vasmem

Url = Callable[[str], str]

SCALARS = [
    None,
    True,
    -1,
    2**63,
    -(2**200),
    0.5,
    -math.inf,
    "",
    "text",
    "\0",
    "snow ☃ \U0001f600",
    b"",
    b"\0\xff",
]

keys = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=4,
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=50)
    | st.binary(max_size=50)
    | st.sampled_from([b"x" * 5_000, "y" * 100_000]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Equal and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class MapModel(RuleBasedStateMachine):
    """The map against a dict, through two handles, one read-only, and reopened now and then."""

    url = ""
    raw = False

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url, max_size="1G")
        self.map = self.segment.hashmap("map", raw=self.raw)
        self.reader = vasmem.attach(self.url, readonly=True)
        self.seen = self.reader["map"]
        self.model: dict[Any, Any] = {}

    def teardown(self) -> None:
        violations = self.segment.check()
        self.reader.close()
        self.segment.close()
        vasmem.remove(self.url)
        assert violations == []

    @initialize(count=st.sampled_from([0, 0, 5, 3000]))
    def fill(self, count: int) -> None:
        for number in range(count):
            self.put(b"%d" % number if self.raw else number, b"value %d" % number)

    def put(self, key: Any, value: Any) -> None:
        self.map[key] = value
        self.model[key] = value

    @rule(data=st.data())
    def put_any(self, data: st.DataObject) -> None:
        self.put(data.draw(self.any_key()), data.draw(self.any_value()))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def put_known(self, data: st.DataObject) -> None:
        self.put(data.draw(self.known_key()), data.draw(self.any_value()))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete_known(self, data: st.DataObject) -> None:
        key = data.draw(self.known_key())
        del self.map[key]
        del self.model[key]
        assert key not in self.seen

    @rule(data=st.data())
    def delete_any(self, data: st.DataObject) -> None:
        key = data.draw(self.any_key())
        if key in self.model:
            del self.model[key]
            del self.map[key]
            return
        with pytest.raises(KeyError):
            del self.map[key]

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        key = data.draw(self.any_key())
        missing = object()
        expected = self.model.get(key, missing)
        for handle in (self.map, self.seen):
            assert same(handle.get(key, missing), expected)
            assert (key in handle) == (key in self.model)

    @rule(keep=st.booleans(), data=st.data())
    def transact(self, keep: bool, data: st.DataObject) -> None:
        key, value = data.draw(self.any_key()), data.draw(self.any_value())
        try:
            with self.segment.transaction():
                self.map[key] = value
                assert same(self.map[key], value), "a transaction reads its own writes"
                assert (key in self.seen) == (key in self.model), "seen before the commit"
                if not keep:
                    raise InterruptedError
        except InterruptedError:
            return
        self.model[key] = value

    @rule(data=st.data())
    def look_and_change(self, data: st.DataObject) -> None:
        key, value = data.draw(self.any_key()), data.draw(self.any_value())
        fresh = key not in self.model
        how = data.draw(st.sampled_from(["add", "setdefault", "pop", "compare", "modify"]))
        if how == "add":
            assert self.map.add(key, value) == fresh
            self.model.setdefault(key, value)
        elif how == "setdefault":
            assert same(self.map.setdefault(key, value), self.model.setdefault(key, value))
        elif how == "pop":
            missing = object()
            assert same(self.map.pop(key, missing), self.model.pop(key, missing))
        elif how == "compare":
            old = data.draw(st.sampled_from([self.model.get(key, value), value]))
            done = not fresh and self.model[key] == old
            assert self.map.compare_and_set(key, old, value) == done
            if done:
                self.model[key] = value
        else:
            assert same(self.map.modify(key, lambda _: value, value), value)
            self.model[key] = value

    @precondition(lambda self: self.model)
    @rule()
    def pop_any(self) -> None:
        key, value = self.map.popitem()
        assert same(value, self.model.pop(key))
        assert key not in self.map
        self.put(key, value)  # which one it was follows from no seed of hypothesis

    @rule(data=st.data())
    def batches(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.tuples(self.any_key(), self.any_value()), max_size=20))
        chosen = [key for key, _ in some]
        self.map.put_many(chosen, [value for _, value in some])
        self.model.update(some)
        missing = object()
        for handle in (self.map, self.seen):
            got = handle.get_many(chosen, missing)
            expected = [self.model.get(key, missing) for key in chosen]
            assert len(got) == len(expected)
            assert all(map(same, got, expected))
        gone = data.draw(st.lists(st.sampled_from(chosen), max_size=5)) if chosen else []
        assert self.map.delete_many(gone) == len({key for key in gone if key in self.model})
        for key in gone:
            self.model.pop(key, None)

    @rule()
    def reopen(self) -> None:
        self.segment.close()
        self.segment = vasmem.attach(self.url)
        self.map = self.segment.hashmap("map", raw=self.raw)

    @rule()
    def clear(self) -> None:
        self.map.clear()
        self.model.clear()

    @invariant()
    def equal(self) -> None:
        assert len(self.seen) == len(self.model)
        items = dict(self.seen.items())
        assert items.keys() == self.model.keys()
        assert all(same(items[key], value) for key, value in self.model.items())

    def known_key(self) -> st.SearchStrategy[Any]:
        return st.sampled_from(list(self.model))

    def any_key(self) -> st.SearchStrategy[Any]:
        return st.binary(max_size=40) if self.raw else keys

    def any_value(self) -> st.SearchStrategy[Any]:
        sizes = st.sampled_from([0, 1, 100, 101, 4000, 70_000])
        return st.binary(max_size=60) | sizes.map(bytes) if self.raw else values


@pytest.mark.parametrize("raw", [False, True])
def test_against_dict(url: Url, raw: bool) -> None:
    model = type("Model", (MapModel,), {"url": url("model"), "raw": raw})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_encoded_map_is_a_mapping(segment: vasmem.Segment) -> None:
    items = {"ada": {"balance": 10}, 2: [1, "two", None], (3, b"x"): (3.5, True), None: "none"}
    check_mapping(segment.hashmap("map"), items)


def test_raw_map_is_a_mapping(segment: vasmem.Segment) -> None:
    check_mapping(segment.hashmap("map", raw=True), {b"a": b"", b"": b"1", b"\0": bytes(9000)})


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
def test_scalars_come_back_as_they_were(segment: vasmem.Segment, scalar: Any) -> None:
    users = segment.hashmap("users")
    users[scalar] = scalar
    assert same(users[scalar], scalar)
    (key,) = users
    assert key == scalar
    users["deep"] = {"list": [scalar, (scalar,)], "empty": [(), {}, []]}
    assert same(users["deep"], {"list": [scalar, (scalar,)], "empty": [(), {}, []]})


def test_equal_numbers_are_one_key(segment: vasmem.Segment) -> None:
    numbers = segment.hashmap("numbers")
    for key in (1, True, 1.0):
        numbers[key] = repr(key)
    assert len(numbers) == 1
    assert same(list(numbers), [1])
    numbers[-0.0] = "zero"
    assert numbers[0] == "zero"
    assert 2**60 not in numbers
    numbers[2.0**60] = "big"
    assert numbers[2**60] == "big"
    assert float(2**60 + 2**8) in {2**60 + 2**8: 1}
    assert 2**60 + 1 not in numbers


@pytest.mark.parametrize("key", [math.nan, [], {}, object(), (1, []), (math.nan,)], ids=repr)
def test_what_cannot_be_a_key(segment: vasmem.Segment, key: Any) -> None:
    users = segment.hashmap("users")
    with pytest.raises(vasmem.WrongType):
        users[key] = 1
    with pytest.raises(TypeError):
        users[key]
    assert len(users) == 0


def test_what_cannot_be_a_value(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users["ada"] = 1
    with pytest.raises(vasmem.WrongType, match="object"):
        users["ada"] = object()
    assert users["ada"] == 1


def test_raw_takes_bytes_only(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    for key, value in (("a", b"b"), (b"a", "b"), (1, b"b"), (b"a", None)):
        with pytest.raises(vasmem.WrongType, match="bytes"):
            blobs[key] = value
    assert len(blobs) == 0


def test_operations_are_native() -> None:
    for name in ("getitem", "setitem", "delitem", "contains", "len", "iter"):
        attribute = getattr(vasmem.HashMap, f"__{name}__")
        assert type(attribute).__name__ == "wrapper_descriptor", attribute


def test_iteration_goes_on_while_others_write(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    stay = {f"stay {number}" for number in range(500)}
    for key in stay:
        users[key] = 0
    seen = []
    for step, key in enumerate(users):
        seen.append(key)
        users[f"new {step}"] = step
        if step % 2:
            users.pop(f"new {step - 1}")
        if step > 20_000:
            break
    kept = [key for key in seen if key in stay]
    assert sorted(kept) == sorted(stay), "each key that was there all the time, exactly once"


def test_large_values(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    sizes = [1, 4095, 4096, 4097, 65_535, 65_536, 1 << 20, (10 << 20) + 1]
    for size in sizes:
        blobs[b"%d" % size] = bytes([size % 251]) * size
    for size in sizes:
        assert blobs[b"%d" % size] == bytes([size % 251]) * size
    used = segment.used
    for _ in range(3):
        for size in sizes:
            blobs[b"%d" % size] = bytes([size % 13]) * size
    assert segment.used <= used + (12 << 20)


def test_grows_far_and_shrinks(segment: vasmem.Segment) -> None:
    numbers = segment.hashmap("numbers")
    count = 50_000
    for number in range(count):
        numbers[number] = number
    assert len(numbers) == count
    assert sum(numbers) == count * (count - 1) // 2
    for number in range(0, count, 2):
        del numbers[number]
    assert len(numbers) == count // 2
    assert all((number in numbers) == bool(number % 2) for number in range(count))
