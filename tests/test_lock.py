import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

import pytest
from kills import ended_well, forked, kill, kill_often, replayable

import vasmem

Url = Callable[[str], str]


def holding(lock: vasmem.Lock) -> int:
    """A child that has the lock and never gives it back."""
    reader, writer = os.pipe()

    def hold() -> None:
        lock.acquire()
        os.write(writer, b"+")
        while True:
            time.sleep(100)

    child = forked(hold)
    assert os.read(reader, 1) == b"+"
    os.close(reader)
    os.close(writer)
    return child


def test_is_taken_and_released(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    assert (lock.locked(), lock.holder, lock.abandoned) == (False, None, False)
    with lock as held:
        assert held is lock
        assert lock.locked()
        assert lock.holder is not None
        assert lock.holder[0] == os.getpid()
        assert repr(lock) == f"<Lock 'l' in {segment.name!r}, held by process {os.getpid()}>"
    assert not lock.locked()
    assert repr(lock) == f"<Lock 'l' in {segment.name!r}, free>"
    assert lock.acquire(False)
    assert segment["l"].locked()
    lock.release()


def test_misuse_is_refused(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    with pytest.raises(vasmem.VasmemError, match="does not have"):
        lock.release()
    with lock, pytest.raises(vasmem.VasmemError, match="already"):
        lock.acquire()
    with pytest.raises(ValueError, match="one of both"):
        lock.acquire(False, 1)
    for wrong in (-2, float("nan")):
        with pytest.raises(ValueError, match="seconds"):
            lock.acquire(timeout=wrong)
    with segment.transaction():
        for call in (lock.acquire, lambda: lock.acquire(False), lock.release):
            with pytest.raises(vasmem.VasmemError, match="inside a transaction"):
                call()
    with vasmem.attach(segment.url, readonly=True) as reader:
        assert not reader["l"].locked()
        with pytest.raises(vasmem.PermissionDenied):
            reader["l"].acquire()


def test_is_one_thing_by_its_name(segment: vasmem.Segment) -> None:
    with segment.lock("l"):
        handle = pickle.loads(pickle.dumps(segment["l"]))
        assert handle.locked()
        # Another attachment is another owner.
        assert not handle.acquire(False)
        handle.segment.close()
    for wrong in (segment.hashmap, segment.set, segment.counter, segment.btree):
        with pytest.raises(vasmem.WrongType):
            wrong("l")
    with pytest.raises(vasmem.WrongType):
        segment.lock(segment.counter("c").name)
    old = segment["l"]
    del segment["l"]
    with pytest.raises(vasmem.VasmemError, match="removed"):
        old.acquire()


def test_belongs_to_a_thread(segment: vasmem.Segment) -> None:
    lock, seen = segment.lock("l"), []

    def other() -> None:
        seen.append(lock.acquire(timeout=0.05))
        try:
            lock.release()
        except vasmem.VasmemError:
            seen.append(lock.acquire())  # once the first thread has released it
            lock.release()

    with lock:
        thread = threading.Thread(target=other)
        thread.start()
        while len(seen) < 1:
            time.sleep(0.001)
        time.sleep(0.02)
    thread.join()
    assert seen == [False, True]


def test_a_time_limit_ends_in_false_or_names_the_holder(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    child = holding(lock)
    begun = time.monotonic()
    assert not lock.acquire(timeout=0.1)
    assert not lock.acquire(blocking=False)
    assert time.monotonic() - begun >= 0.1
    segment.timeout = 0.1
    with pytest.raises(vasmem.LockTimeout, match=f"process {child} "), lock:
        pass
    assert lock.holder is not None
    assert lock.holder[0] == child
    kill(child)
    assert lock.holder is None


def test_the_next_one_is_told_of_a_dead_holder(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    kill(holding(lock))
    assert not lock.locked()
    with lock:
        assert lock.abandoned
    with lock:
        assert not lock.abandoned


def test_who_waits_notices_that_the_holder_is_killed(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    child = holding(lock)
    killer = threading.Timer(0.1, kill, [child])
    killer.start()
    assert lock.acquire(timeout=60)
    assert lock.abandoned
    killer.join()
    lock.release()


def test_a_reused_lane_is_not_mistaken_for_its_dead_owner(segment: vasmem.Segment) -> None:
    lock, counter = segment.lock("l"), segment.counter("c")
    kill(holding(lock))
    reader, writer = os.pipe()

    def live() -> None:
        counter.incr()  # claims the dead one's lane
        os.write(writer, b"+")
        time.sleep(100)

    child = forked(live)
    assert os.read(reader, 1) == b"+"
    os.close(reader)
    os.close(writer)
    assert not lock.locked()
    assert lock.acquire(False)
    assert lock.abandoned
    lock.release()
    kill(child)


def test_closing_gives_it_up(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    other = vasmem.attach(segment.url)
    other.lock("l").acquire()
    assert lock.locked()
    other.close()
    with lock:
        assert lock.abandoned


def test_a_forked_child_has_none_of_its_parents(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")

    def child() -> None:
        assert lock.holder is not None
        assert lock.holder[0] == os.getppid()
        assert not lock.acquire(False)
        with pytest.raises(vasmem.VasmemError, match="does not have"):
            lock.release()

    with lock:
        assert ended_well([forked(child)])
        assert lock.locked()


def test_ctrl_c_ends_a_wait(segment: vasmem.Segment) -> None:
    lock = segment.lock("l")
    child = holding(lock)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        lock.acquire(timeout=-1)
    kill(child)


def test_other_threads_run_meanwhile(segment: vasmem.Segment) -> None:
    lock, done = segment.lock("l"), threading.Event()
    child = holding(lock)
    waiting = threading.Thread(target=lambda: (lock.acquire(timeout=60), lock.release()))
    waiting.start()
    threading.Thread(target=done.set).start()
    assert done.wait(60)
    kill(child)
    waiting.join()


def test_many_wake_each_other(segment: vasmem.Segment) -> None:
    lock, plain = segment.lock("l"), segment.hashmap("plain")
    plain["n"] = 0

    def count() -> None:
        for _ in range(500):
            with lock:
                plain["n"] = plain["n"] + 1

    assert ended_well([forked(count) for _ in range(4)])
    assert plain["n"] == 2_000


def test_killed_at_random_they_leave_it_to_one_at_a_time(segment: vasmem.Segment) -> None:
    lock, facts = segment.lock("l"), segment.hashmap("facts")
    facts.update({"inside": 0, "abandoned": 0, "broken": 0, "rounds": 0})

    def work() -> None:
        while True:
            with lock:
                if lock.abandoned:
                    facts["abandoned"] += 1
                elif facts["inside"] != 0:
                    facts["broken"] += 1
                facts["inside"] = os.getpid()
                facts["rounds"] += 1
                if facts["inside"] != os.getpid():
                    facts["broken"] += 1
                facts["inside"] = 0

    with replayable() as (seed, kills):
        kill_often([work] * 4, kills, seed)
        assert lock.acquire(timeout=60)
        lock.release()
        assert facts["broken"] == 0
        assert facts["abandoned"] > 0
        assert facts["rounds"] > kills
