"""Every wait: Ctrl-C ends it, and so does the timeout, whose error names who is waited for."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from obstacles import ATTACHED, GROWTH, byte_locked, committing, lanes_taken, token_held
from test_lifecycle_signals import signalled

import vasmem
from vasmem import backends
from vasmem.backends import Backend

Call = Callable[[], object]
# Who is waited for, what the message says of it, and the call that waits.
Waiting = tuple[int, str, Call]
Setting = Callable[[vasmem.Segment, Path], AbstractContextManager[Waiting]]


@pytest.fixture
def backend() -> Backend:
    """One is enough: no backend waits."""
    return backends.get("shm")


@contextmanager
def for_growth(segment: vasmem.Segment, home: Path) -> Iterator[Waiting]:
    users = segment.hashmap("users")
    users["k"] = 1
    with byte_locked(segment, home, GROWTH) as pid:
        yield pid, "grows the segment", lambda: users.__setitem__("k", bytes(segment.size))


@contextmanager
def for_growth_in_a_batch(segment: vasmem.Segment, home: Path) -> Iterator[Waiting]:
    users = segment.hashmap("users")
    users["k"] = 1
    with byte_locked(segment, home, GROWTH) as pid:
        values = [bytes(segment.size)] * 3
        yield pid, "grows the segment", lambda: users.put_many(["k", "l", "m"], values)


@contextmanager
def for_a_commit(segment: vasmem.Segment, _: Path) -> Iterator[Waiting]:
    with committing(segment) as process:
        yield process.pid, "a commit of", lambda: segment["blobs"].__setitem__(b"large", b"small")


@contextmanager
def for_a_commit_in_a_batch(segment: vasmem.Segment, _: Path) -> Iterator[Waiting]:
    with committing(segment) as process:
        yield process.pid, "a commit of", lambda: segment["blobs"].delete_many([b"large"])


@contextmanager
def for_a_commit_before_a_transaction(segment: vasmem.Segment, _: Path) -> Iterator[Waiting]:
    with committing(segment) as process:
        yield process.pid, "a commit of", lambda: segment.transaction().__enter__()


@contextmanager
def for_a_commit_in_a_check(segment: vasmem.Segment, _: Path) -> Iterator[Waiting]:
    with committing(segment) as process:
        yield process.pid, "a commit of", segment.check


@contextmanager
def for_a_transaction_in_a_check(segment: vasmem.Segment, _: Path) -> Iterator[Waiting]:
    with token_held(segment) as pid:
        yield pid, "the transaction of", segment.check


SETTINGS = [
    for_growth,
    for_growth_in_a_batch,
    for_a_commit,
    for_a_commit_in_a_batch,
    for_a_commit_before_a_transaction,
    for_a_commit_in_a_check,
    for_a_transaction_in_a_check,
]


def assert_times_out(segment: vasmem.Segment, waiting: Waiting) -> None:
    pid, what, call = waiting
    segment.timeout = 0.2
    said = rf"(?s)waited too long for .*{what}.*segment\.timeout"
    with pytest.raises(vasmem.LockTimeout, match=said) as caught:
        call()
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    assert f"process {pid} ({command})" in str(caught.value)


def assert_is_interrupted(segment: vasmem.Segment, call: Call) -> None:
    segment.timeout = 60
    with (
        pytest.raises(KeyboardInterrupt),
        signalled(signal.SIGINT, signal.default_int_handler, 0.2),
    ):
        call()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.__name__)
def test_ends_by_timeout_and_by_ctrl_c(
    segment: vasmem.Segment, home: Path, setting: Setting
) -> None:
    segment.hashmap("users").update({"a": 1, "b": 2})
    with setting(segment, home) as waiting:
        assert_times_out(segment, waiting)
        assert_is_interrupted(segment, waiting[2])
        assert segment["users"]["a"] == 1, "readers do not wait"
    # Who was waited for is dead now, and nothing is left of the wait.
    segment["users"]["c"] = bytes(10)
    with segment.transaction():
        segment["users"]["d"] = bytes(segment.size)
    assert segment.check() == []


def test_when_all_lanes_are_taken() -> None:
    """1,023 operations may write at a time; whoever has a lane already goes on."""
    with vasmem.create("test", max_size="1G") as segment:
        segment.hashmap("users")["a"] = 1
        with lanes_taken(segment) as pid, vasmem.attach("test") as late:
            most = "a free lane: all 1023 are taken, 1022 of them by"
            for attachment, call in (
                (late, lambda: late["users"].incr("a", 1)),
                (late, lambda: late["users"].put_many(["a"], [2])),
                (late, late.check),
                (segment, lambda: segment.transaction().__enter__()),
            ):
                assert_times_out(attachment, (pid, most, call))
                assert_is_interrupted(attachment, call)
            segment["users"]["b"] = 1
            assert segment.check() == []
            assert late["users"]["b"] == 1
        late_again = vasmem.attach("test")
        late_again["users"]["c"] = 1
        late_again.close()
        assert segment.check() == []
    vasmem.remove("test")


def test_when_threads_have_all_lanes_of_the_process(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    segment.timeout = 60
    with token_held(segment):
        threads = [threading.Thread(target=users.incr, args=(n, 1)) for n in range(16)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)  # until each of them waits for the transaction, on a lane of its own
        waiting = os.getpid(), "another thread of", lambda: users.incr("main", 1)
        assert_times_out(segment, waiting)
        assert_is_interrupted(segment, waiting[2])
    for thread in threads:
        thread.join()
    assert dict(users) == dict.fromkeys(range(16), 1)


def test_attaching_while_another_recovers(segment: vasmem.Segment, home: Path) -> None:
    segment.hashmap("users")["a"] = 1
    segment.close()
    with byte_locked(segment, home, ATTACHED) as pid:
        with (
            pytest.raises(KeyboardInterrupt),
            signalled(signal.SIGINT, signal.default_int_handler, 0.2),
        ):
            vasmem.attach(segment.url)
        said = rf"(?s)waited too long for process {pid} \(.*import.*attached it or recovers"
        with pytest.raises(vasmem.LockTimeout, match=said):  # after 10 seconds, always
            vasmem.attach(segment.url)
    vasmem.attach(segment.url).close()
