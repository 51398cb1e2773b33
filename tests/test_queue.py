import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kills import ended_well, forked, kill, kill_often, replayable

import vasmem

Url = Callable[[str], str]
values = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=30),
    st.lists(st.binary(max_size=400), max_size=3),
    st.integers(0, 255).map(lambda byte: bytes([byte]) * 9_000),
)
SIZE = 5


class Queues(RuleBasedStateMachine):
    """A queue of a segment against lists: what waits, and what this thread has on lease."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url)
        self.queue: vasmem.Queue[Any] = self.segment.queue("q", SIZE)
        self.ready: list[Any] = []
        self.back: list[tuple[int, Any]] = []
        self.leased: list[tuple[int, Any]] = []
        self.number = 0

    def model_take(self) -> tuple[int, Any] | None:
        if self.back:
            first = min(self.back, key=lambda pair: pair[0])
            self.back.remove(first)
            return first
        return self.ready.pop(0) if self.ready else None

    @rule(item=values)
    def put(self, item: Any) -> None:
        if len(self.ready) < SIZE:
            self.queue.put_nowait(item)
            self.ready.append((self.number, item))
            self.number += 1
        else:
            with pytest.raises(queue.Full):
                self.queue.put(item, timeout=0)

    @rule(items=st.lists(values, max_size=4))
    def put_many(self, items: list[Any]) -> None:
        room = min(SIZE - len(self.ready), len(items))
        if room or not items:
            assert self.queue.put_many(items, block=False) == room
        else:
            with pytest.raises(queue.Full):
                self.queue.put_many(items, block=False)
        self.ready += [(self.number + number, item) for number, item in enumerate(items[:room])]
        self.number += room

    @rule(ack=st.booleans())
    def get(self, ack: bool) -> None:
        expected = self.model_take()
        if expected is None:
            with pytest.raises(queue.Empty):
                self.queue.get_nowait(ack=ack)
            return
        assert self.queue.get_nowait(ack=ack) == expected[1]
        if ack:
            self.leased.append(expected)

    @rule(count=st.integers(1, 4), ack=st.booleans())
    def get_many(self, count: int, ack: bool) -> None:
        taken = [pair for pair in (self.model_take() for _ in range(count)) if pair]
        if not taken:
            with pytest.raises(queue.Empty):
                self.queue.get_many(count, False, ack=ack)
            return
        assert self.queue.get_many(count, False, ack=ack) == [item for _, item in taken]
        self.leased += taken if ack else []

    @rule()
    def task_done(self) -> None:
        if self.leased:
            self.queue.task_done()
            self.leased.remove(min(self.leased, key=lambda pair: pair[0]))
        else:
            with pytest.raises(ValueError, match="on lease"):
                self.queue.task_done()

    @rule()
    def give_back(self) -> None:
        assert self.queue.give_back() == bool(self.leased)
        if self.leased:
            first = min(self.leased, key=lambda pair: pair[0])
            self.leased.remove(first)
            self.back.append(first)

    @rule(fails=st.booleans())
    def take(self, fails: bool) -> None:
        if not (self.ready or self.back):
            with pytest.raises(queue.Empty), self.queue.take(block=False):
                pass
            return
        expected = self.model_take()
        assert expected is not None
        if not fails:
            with self.queue.take(block=False) as item:
                assert item == expected[1]
            return
        with pytest.raises(ZeroDivisionError), self.queue.take(block=False) as item:
            assert item == expected[1]
            _ = 1 / 0
        self.back.append(expected)

    @rule(item=values)
    def undone(self, item: Any) -> None:
        with pytest.raises(ZeroDivisionError), self.segment.transaction():
            while self.queue.qsize():
                self.queue.get(False, ack=False)
            self.queue.put(item, False)
            assert self.queue.get(False, ack=False) == item
            self.queue.done()
            _ = 1 / 0

    @invariant()
    def same(self) -> None:
        assert self.queue.qsize() == len(self.ready) + len(self.back)
        assert self.queue.empty() == (not self.ready and not self.back)
        assert self.queue.full() == (len(self.ready) == SIZE)
        assert self.queue.leased == len(self.leased)
        held = sorted(self.back + self.leased, key=lambda pair: pair[0]) + self.ready
        assert self.queue.items() == [item for _, item in held]

    def teardown(self) -> None:
        assert self.segment.check() == []
        del self.segment["q"]
        assert self.segment.check() == []
        self.segment.close()
        vasmem.remove(self.url)


def test_is_a_queue(url: Url) -> None:
    machine = type("Machine", (Queues,), {"url": url("machine")})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=40))


def taking(of: vasmem.Queue[Any], count: int = 1) -> int:
    """A child that has so many items on lease and never ends them."""
    reader, writer = os.pipe()

    def hold() -> None:
        of.get_many(count)
        os.write(writer, b"+")
        while True:
            time.sleep(100)

    child = forked(hold)
    assert os.read(reader, 1) == b"+"
    os.close(reader)
    os.close(writer)
    return child


def test_is_one_thing_by_its_name(segment: vasmem.Segment) -> None:
    segment.queue("q", 3).put([1, "a"])
    segment.queue("raw", 3, raw=True).put(b"x")
    assert [segment[name].get() for name in ("q", "raw")] == [[1, "a"], b"x"]
    assert segment["q"].maxsize == 3
    handle = pickle.loads(pickle.dumps(segment["raw"]))
    assert (handle.maxsize, handle.raw) == (3, True)
    handle.segment.close()
    for wrong in (
        lambda: segment.hashmap("q"),
        lambda: segment.queue("raw"),
        lambda: segment.queue("q", raw=True),
        lambda: segment.queue(segment.lock("l").name, 3),
        lambda: segment["raw"].put("text"),
    ):
        with pytest.raises(vasmem.WrongType):
            wrong()
    for maxsize in (4, 0, 100_001):
        with pytest.raises(ValueError, match="maxsize"):
            segment.queue("q", maxsize)
    with pytest.raises(KeyError):
        segment.queue("none")
    facts = {found["name"]: found for found in segment.info()["structures"]}
    assert facts["q"] == {"name": "q", "kind": "queue", "length": 1, "load": 1 / 3}
    assert repr(segment["q"]) == f"<Queue 'q' in {segment.name!r}, 0 of 3 items, 1 on lease>"
    old = segment["q"]
    del segment["q"]
    with pytest.raises(vasmem.VasmemError, match="removed"):
        old.put(1)


def test_large_items_and_many(segment: vasmem.Segment) -> None:
    big = segment.queue("big", 100_000)
    items = [bytes([number]) * (number * 300) for number in range(100)]
    assert big.put_many(items) == 100
    assert big.items() == items
    assert big.get_many(100) == items
    assert (big.qsize(), big.leased) == (0, 100)
    for _ in items:
        big.task_done()
    numbers = range(1_000)
    assert big.put_many(numbers) == 1_000
    assert [big.get(ack=False) for _ in numbers] == list(numbers)


def test_leases_have_a_limit(segment: vasmem.Segment) -> None:
    many = segment.queue("many", 1_000)
    many.put_many(range(500))
    taken = [item for _ in range(4) for item in many.get_many(112)]
    assert taken == list(range(448))
    with pytest.raises(queue.Empty):
        many.get(False)
    assert many.get(ack=False) == 448
    many.task_done()
    assert many.get() == 449


def test_a_killed_consumers_items_come_first(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 10)
    jobs.put_many(range(6))
    child = taking(jobs, 3)
    assert jobs.get(ack=False) == 3
    kill(child)
    assert (jobs.qsize(), jobs.leased) == (5, 0)
    assert [jobs.get(ack=False) for _ in range(5)] == [0, 1, 2, 4, 5]


def test_a_waiting_consumer_gets_the_item_of_a_killed_one(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 10)
    jobs.put("job")
    child = taking(jobs)
    killer = threading.Timer(0.1, kill, [child])
    killer.start()
    with jobs.take(timeout=60) as job:
        assert job == "job"
    killer.join()
    assert jobs.items() == []


def test_closing_gives_leases_back(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 10)
    jobs.put("job")
    with vasmem.attach(segment.url) as other:
        assert other["jobs"].get() == "job"
        assert jobs.empty()
    assert jobs.get(False) == "job"


def test_leases_belong_to_a_thread_and_no_forked_child(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 10)
    jobs.put("job")
    jobs.get()
    thread_done: list[bool] = []
    thread = threading.Thread(target=lambda: thread_done.append(jobs.done()))
    thread.start()
    thread.join()

    def child() -> None:
        assert not jobs.done()
        assert jobs.leased == 1

    assert ended_well([forked(child)])
    assert thread_done == [False]
    jobs.task_done()


def test_belongs_to_transactions(segment: vasmem.Segment) -> None:
    jobs, results = segment.queue("jobs", 2), segment.hashmap("results")
    with segment.transaction():
        jobs.put("a")
        jobs.put("b")
        results["n"] = 2
        with pytest.raises(vasmem.VasmemError, match="wait"):
            jobs.put("c")
        with pytest.raises(vasmem.VasmemError, match="ack=False"):
            jobs.get()
    job = jobs.get()
    with pytest.raises(ZeroDivisionError), segment.transaction():
        results[job] = "half"
        jobs.task_done()
        assert jobs.get(ack=False) == "b"
        with pytest.raises(vasmem.VasmemError, match="wait"):
            jobs.get(ack=False)
        _ = 1 / 0
    assert (jobs.leased, jobs.qsize()) == (1, 1)
    with segment.transaction():
        results[job] = "done"
        jobs.task_done()

    @segment.atomic
    def move() -> None:
        results[jobs.get(False, ack=False)] = "moved"

    move()
    assert dict(results) == {"n": 2, "a": "done", "b": "moved"}
    assert jobs.items() == []


def test_a_commit_wakes_those_that_wait(segment: vasmem.Segment) -> None:
    jobs, got = segment.queue("jobs", 2), segment.queue("got", 2)
    child = forked(lambda: got.put(jobs.get(timeout=60, ack=False)))
    time.sleep(0.05)
    with segment.transaction():
        jobs.put("job")
    assert got.get(timeout=60) == "job"
    assert ended_well([child])


def test_time_limits(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 1)
    begun = time.monotonic()
    with pytest.raises(queue.Empty):
        jobs.get(timeout=0.1)
    jobs.put(1)
    with pytest.raises(queue.Full):
        jobs.put(2, timeout=0.1)
    assert time.monotonic() - begun >= 0.2
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            jobs.put(2, timeout=wrong)
    with pytest.raises(ValueError, match="max is 0"):
        jobs.get_many(0)
    with vasmem.attach(segment.url, readonly=True) as reader:
        assert (reader["jobs"].qsize(), reader["jobs"].items()) == (1, [1])
        with pytest.raises(vasmem.PermissionDenied):
            reader["jobs"].get(False)


@pytest.mark.parametrize("call", [lambda jobs: jobs.get(), lambda jobs: jobs.put_many("ab" * 9)])
def test_ctrl_c_ends_a_wait(segment: vasmem.Segment, call: Callable[..., object]) -> None:
    jobs = segment.queue("jobs", 1)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        call(jobs)


def test_each_item_goes_to_one_and_in_order(segment: vasmem.Segment) -> None:
    jobs = segment.queue("jobs", 10)
    results = segment.hashmap("results")

    def produce(name: int) -> None:
        for number in range(600):
            jobs.put((name, number))

    def consume(name: int) -> None:
        seen = []
        while (job := jobs.get(ack=False)) is not None:
            seen.append(job)
        results[name] = seen

    producers = [forked(lambda name=name: produce(name)) for name in (0, 1)]
    consumers = [forked(lambda name=name: consume(name)) for name in (2, 3)]
    assert ended_well(producers)
    jobs.put_many([None, None])
    assert ended_well(consumers)
    everything = [job for name in (2, 3) for job in results[name]]
    assert sorted(everything) == [(name, number) for name in (0, 1) for number in range(600)]
    for name in (2, 3):
        for producer in (0, 1):
            numbers = [number for who, number in results[name] if who == producer]
            assert numbers == sorted(numbers)


def test_killed_at_random_they_lose_and_double_no_item(segment: vasmem.Segment) -> None:
    jobs, put = segment.queue("jobs", 20), segment.counter("put")
    seen, again = segment.hashmap("seen"), segment.hashmap("again")

    def produce() -> None:
        while True:
            try:
                with segment.transaction():
                    jobs.put(put.incr(), block=False)
            except queue.Full:
                time.sleep(0.001)

    def exactly_once() -> None:
        while True:
            job = jobs.get()
            with segment.transaction():
                seen.incr(job)
                jobs.task_done()

    def in_a_transaction() -> None:
        while True:
            try:
                with segment.transaction():
                    seen.incr(jobs.get(False, ack=False))
            except queue.Empty:
                time.sleep(0.001)

    def at_least_once() -> None:
        while True:
            with jobs.take() as job:
                again.incr(job)

    works = [produce, produce, exactly_once, in_a_transaction, at_least_once]
    with replayable() as (seed, kills):
        kill_often(works, kills, seed)
        assert segment.check() == []
        rest = []
        while not jobs.empty():
            rest.append(jobs.get(ack=False))
        assert jobs.leased == 0
        assert rest == sorted(rest)
        assert set(seen.values()) == {1}
        assert put.value > kills
        # What was taken for at least once may have been given back and come to others.
        everything = set(seen) | set(again) | set(rest)
        assert everything == set(range(1, put.value + 1))
        assert not set(seen) & set(rest)
        assert sum(again.values()) - len(again) <= kills
