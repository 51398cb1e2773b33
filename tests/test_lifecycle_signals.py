"""Signals that arrive in the middle of calls: their handlers run, and nothing is half done."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from obstacles import token_held

import vasmem


class Bell(Exception):
    """What the handler of a test raises."""


@contextmanager
def signalled(number: int, handler: Callable[..., object], after_s: float) -> Iterator[None]:
    """This process gets that signal a little later."""
    before = signal.signal(number, handler)
    timer = threading.Timer(after_s, os.kill, (os.getpid(), number))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(number, before)


def ring(*_: object) -> None:
    raise Bell


WAITS: dict[str, Callable[[vasmem.Segment], object]] = {
    "put": lambda segment: segment["users"].__setitem__("k", 1),
    "delete": lambda segment: segment["users"].pop("kept"),
    "incr": lambda segment: segment["users"].incr("n", 1),
    "modify": lambda segment: segment["users"].modify("kept", lambda value: value + 1),
    "view": lambda segment: segment["texts"].view("kept"),
    "put_many": lambda segment: segment["users"].put_many(["a", "b"], [1, 2]),
    "delete_many": lambda segment: segment["users"].delete_many(["kept"]),
    "transaction": lambda segment: segment.transaction().__enter__(),
    "hashmap": lambda segment: segment.hashmap("new"),
    "remove": lambda segment: segment.__delitem__("users"),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
@pytest.mark.parametrize(
    ("number", "handler", "raised"),
    [(signal.SIGINT, signal.default_int_handler, KeyboardInterrupt), (signal.SIGUSR1, ring, Bell)],
    ids=["Ctrl-C", "handler"],
)
def test_in_a_wait_for_another_transaction(
    segment: vasmem.Segment,
    wait: Callable[[vasmem.Segment], object],
    number: int,
    handler: Callable[..., object],
    raised: type[BaseException],
) -> None:
    users = segment.hashmap("users")
    users["kept"] = 0
    segment.hashmap("texts")["kept"] = "text"
    segment.timeout = 60
    with (
        token_held(segment),
        pytest.raises(raised),
        signalled(number, handler, 0.2),
    ):
        wait(segment)
    assert dict(users) == {"kept": 0}
    with segment.transaction():
        users["after"] = 1
    assert segment.check() == []


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_a_timeout_names_pid_and_command(
    segment: vasmem.Segment, wait: Callable[[vasmem.Segment], object]
) -> None:
    segment.hashmap("users")["kept"] = 0
    segment.hashmap("texts")["kept"] = "text"
    segment.timeout = 0.2
    with token_held(segment) as pid:
        with pytest.raises(vasmem.LockTimeout) as caught:
            wait(segment)
        message = str(caught.value)
        for part in ("test", f"process {pid} (", "import sys, vasmem", "segment.timeout"):
            assert part in message
    assert dict(segment["users"]) == {"kept": 0}


@pytest.mark.parametrize("call", ["put_many", "get_many", "delete_many"])
def test_in_a_long_batch(segment: vasmem.Segment, call: str) -> None:
    """Each key is done or not; the batch ends early."""
    raw = segment.hashmap("raw", raw=True)
    keys = [b"%d" % number for number in range(400_000)]
    if call != "put_many":
        raw.put_many(keys, keys)
    calls = {
        "modify": lambda segment: segment["users"].modify("kept", lambda value: value + 1),
        "view": lambda segment: segment["texts"].view("kept"),
        "put_many": lambda: raw.put_many(keys, keys),
        "get_many": lambda: raw.get_many(keys),
        "delete_many": lambda: raw.delete_many(keys),
    }

    def again() -> None:
        while True:
            calls[call]()

    with (
        pytest.raises(KeyboardInterrupt),
        signalled(signal.SIGINT, signal.default_int_handler, 0.05),
    ):
        again()
    assert all(key == value for key, value in raw.items())
    raw[b"after"] = b"1"
    assert segment.check() == []


def test_in_a_batch_of_few_large_values(segment: vasmem.Segment) -> None:
    """Which grows the segment all the time; too few keys for a look every so many of them."""
    raw = segment.hashmap("raw", raw=True)
    keys = [b"%d" % number for number in range(3_000)]
    with (
        pytest.raises(KeyboardInterrupt),
        signalled(signal.SIGINT, signal.default_int_handler, 0.05),
    ):
        raw.put_many(keys, [bytes(300_000)] * len(keys))
    assert 0 < len(raw) < len(keys)
    assert segment.check() == []


def test_in_one_long_get_many_of_a_list(segment: vasmem.Segment) -> None:
    """It holds the interpreter, so that only the system can send the signal meanwhile."""
    users = segment.hashmap("users")
    users["k"] = "value"
    before = signal.signal(signal.SIGALRM, lambda *_: users.pop("k"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        values = users.get_many(["k"] * 2_000_000)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (values[0], values[-1]) == ("value", None), "the handler ran in the middle"


def test_a_handler_that_uses_the_map(segment: vasmem.Segment) -> None:
    """Re-entrancy: the handler runs inside the waiting call of the same thread."""
    users = segment.hashmap("users")
    users["n"] = 0
    seen: list[object] = []

    def handle(*_: object) -> None:
        seen.append(users["n"])
        seen.append(len(list(users.items())))
        segment.timeout = 0.1
        try:
            users["handler"] = 1
        except vasmem.LockTimeout:
            seen.append("timeout")

    segment.timeout = 2
    with (
        token_held(segment),
        pytest.raises(vasmem.LockTimeout),
        signalled(signal.SIGUSR1, handle, 0.2),
    ):
        users["n"] = 1
    assert seen == [0, 1, "timeout"]
    segment.timeout = 10
    users["n"] = 2
    assert dict(users) == {"n": 2}


def test_handlers_between_operations(segment: vasmem.Segment) -> None:
    """A timer whose handler writes, while the program does: in no transaction and in one."""
    users = segment.hashmap("users")
    users["ticks"] = users["handled"] = 0

    def tick(*_: object) -> None:
        users.incr("handled", 1)

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            users.incr("ticks", 1)
            with segment.transaction():
                users["ticks"] += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert users["handled"] > 0
    assert users["ticks"] % 2 == 0
    assert segment.check() == []
