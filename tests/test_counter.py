import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import ended_well, forked

import vasmem

WORD = 2**63
numbers = st.integers(-WORD, WORD - 1)


def test_counts(segment: vasmem.Segment) -> None:
    hits = segment.counter("hits")
    assert (hits.value, int(hits)) == (0, 0)
    assert [hits.incr(), hits.incr(10), hits.decr(), hits.decr(3)] == [1, 11, 10, 7]
    hits.set(-5)
    assert hits.compare_and_set(-5, 8)
    assert not hits.compare_and_set(-5, 9)
    assert hits.value == 8
    assert repr(hits) == f"<Counter 'hits' in {segment.name!r}, 8>"


@given(start=numbers, by=numbers)
def test_what_does_not_fit_changes_nothing(start: int, by: int) -> None:
    with vasmem.create(f"limits-{random.getrandbits(60)}") as segment:
        counter = segment.counter("c")
        for change, sign in ((counter.incr, 1), (counter.decr, -1)):
            counter.set(start)
            if -WORD <= start + sign * by < WORD:
                assert change(by) == counter.value == start + sign * by
            else:
                with pytest.raises(OverflowError, match="not changed"):
                    change(by)
                assert counter.value == start
        vasmem.remove(segment.name)


@pytest.mark.parametrize("number", [WORD, -WORD - 1, 10**30])
def test_numbers_have_64_bits(segment: vasmem.Segment, number: int) -> None:
    counter = segment.counter("c")
    for call in (counter.incr, counter.decr, counter.set):
        with pytest.raises(OverflowError):
            call(number)
    assert counter.value == 0


def test_takes_ints_alone(segment: vasmem.Segment) -> None:
    counter = segment.counter("c")
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError):
            counter.incr(wrong)  # type: ignore[arg-type]


def test_is_one_thing_by_its_name(segment: vasmem.Segment) -> None:
    segment.counter("c").incr()
    assert isinstance(segment["c"], vasmem.Counter)
    assert (segment["c"].value, list(segment)) == (1, ["c"])
    handle = pickle.loads(pickle.dumps(segment["c"]))
    assert handle.incr() == segment["c"].value == 2
    handle.segment.close()
    for open_other in (segment.hashmap, segment.set):
        with pytest.raises(vasmem.WrongType):
            open_other("c")
    with pytest.raises(KeyError):
        segment.counter("missing", create=False)
    found = segment.info()["structures"]
    assert found == [{"name": "c", "kind": "counter", "length": None, "load": None}]


def test_a_removed_one_says_so(segment: vasmem.Segment) -> None:
    old = segment.counter("c")
    old.incr()
    del segment["c"]
    assert "c" not in segment
    assert segment.counter("c").value == 0
    with pytest.raises(vasmem.VasmemError, match="removed"):
        old.incr()
    assert "removed" in repr(old)


def test_belongs_to_transactions(segment: vasmem.Segment) -> None:
    counter, users = segment.counter("c"), segment.hashmap("users")
    with segment.transaction():
        counter.incr()
        users["a"] = counter.value
    with pytest.raises(ZeroDivisionError), segment.transaction():
        counter.incr(5)
        _ = 1 / 0
    assert (counter.value, users["a"]) == (1, 1)

    @segment.atomic
    def twice() -> int:
        return counter.set(counter.value * 2) or counter.value

    assert twice() == counter.value == 2


def test_read_only_reads(segment: vasmem.Segment) -> None:
    segment.counter("c").incr(7)
    with vasmem.attach(segment.url, readonly=True) as reader:
        assert reader["c"].value == 7
        with pytest.raises(vasmem.PermissionDenied):
            reader["c"].incr()


def test_four_processes_count_each_one_once(segment: vasmem.Segment) -> None:
    counter = segment.counter("c")
    children = [forked(lambda: [counter.incr() for _ in range(2_000)]) for _ in range(4)]
    assert ended_well(children)
    assert counter.value == 8_000
