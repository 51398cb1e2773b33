"""Switching: what a thread can touch inside and outside, with protection keys or without them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import vasmem
from vasmem import _core

# One more than a processor has keys for.
MANY = 17


def use(segment: vasmem.Segment) -> int:
    users = segment.hashmap("users")
    users["ada"] = 1
    return len(users)


def in_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def is_refused(segment: vasmem.Segment) -> bool:
    try:
        segment.hashmap("users").get("ada")
    except vasmem.NotSwitchedIn:
        return True
    return False


def test_outside_our_interface_refuses(trading: vasmem.Vas) -> None:
    with trading.switch() as space:
        segment = space["orders"]
        users = segment.hashmap("users")
        assert use(segment) == 1
    operations: tuple[Callable[[], object], ...] = (
        lambda: users["ada"],
        lambda: users.update(ada=2),
        lambda: len(users),
        lambda: list(users),
        lambda: segment.hashmap("other"),
        lambda: list(segment),
        lambda: segment.size,
        lambda: segment.used,
        lambda: segment.writers,
        lambda: repr(segment),
        segment.check,
        segment.info,
        segment.sync,
        segment.transaction().__enter__,
    )
    for operation in operations:
        with pytest.raises(vasmem.NotSwitchedIn, match="not switched into"):
            operation()
    assert (segment.name, segment.readonly) == (segment.name, False)
    with trading.switch():
        assert users["ada"] == 1


def test_a_plain_attachment_is_always_open(trading: vasmem.Vas) -> None:
    (name,) = (found.name for found in vasmem.segments() if "orders" in found.name)
    with vasmem.attach(name) as segment, trading.switch() as space:
        use(space["orders"])
        assert segment.hashmap("users")["ada"] == 1
    with vasmem.attach(name) as segment:
        assert segment.hashmap("users")["ada"] == 1


WILD = """
import ctypes, sys, vasmem
vas = vasmem.Vas.attach(sys.argv[1])
with vas.switch() as space:
    space["orders"].hashmap("users")["ada"] = 1
    address = space["orders"]._core.base_address
    assert len(ctypes.string_at(address, 8)) == 8
print("inside", flush=True)
if sys.argv[2] == "read":
    ctypes.string_at(address, 8)
else:
    ctypes.memset(address + 4096 * 9, 0, 8)
print("survived", flush=True)
"""


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_wild_pointer_faults(trading: vasmem.Vas, access: str) -> None:
    command = [sys.executable, "-c", WILD, trading.name, access]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGSEGV, "inside\n")
    with trading.switch() as space:
        assert space["orders"].hashmap("users")["ada"] == 1
        assert space["orders"].check() == []


def test_leaving_restores_what_was_before(trading: vasmem.Vas) -> None:
    assert vasmem.active_vas() is None
    with vasmem.Vas.attach(trading.name) as other, trading.switch() as outer:
        segment = outer["orders"]
        with other.switch() as inner:
            assert vasmem.active_vas() is other
            assert use(inner["orders"]) == 1
            assert is_refused(segment)
            with trading.switch():
                assert not is_refused(segment)
                assert is_refused_by(inner, other)
        assert vasmem.active_vas() is trading
        assert not is_refused(segment)
    assert vasmem.active_vas() is None
    assert is_refused(segment)


def is_refused_by(space: Any, vas: vasmem.Vas) -> bool:
    assert vasmem.active_vas() is not vas
    return is_refused(space["orders"])


def test_an_exception_leaves(trading: vasmem.Vas) -> None:
    with pytest.raises(RuntimeError, match="no"), trading.switch() as space:
        segment = space["orders"]
        raise RuntimeError("no")
    assert is_refused(segment)
    with pytest.raises(vasmem.VasmemError, match="not switched in here"):
        trading.switch().__exit__(None, None, None)


def test_threads_are_in_different_ones_at_once(trading: vasmem.Vas) -> None:
    with vasmem.Vas.attach(trading.name) as other:
        segments: dict[vasmem.Vas, vasmem.Segment] = {}
        meeting = threading.Barrier(2, timeout=60)
        failures: list[object] = []

        def work(mine: vasmem.Vas, theirs: vasmem.Vas) -> None:
            with mine.switch() as space:
                segments[mine] = space["orders"]
                meeting.wait()
                for _ in range(50):
                    if is_refused(segments[mine]) or not is_refused(segments[theirs]):
                        failures.append(mine)
                if vasmem.active_vas() is not mine:
                    failures.append(vasmem.active_vas())
                meeting.wait()

        pairs = [(trading, other), (other, trading)]
        threads = [threading.Thread(target=work, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        segments.clear()


def test_more_than_there_are_keys(trading: vasmem.Vas) -> None:
    handles = [vasmem.Vas.attach(trading.name) for _ in range(MANY)]
    segments = []
    for _ in range(2):
        for vas in handles:
            with vas.switch() as space:
                use(space["orders"])
                segments.append(space["orders"])
    assert all(map(is_refused, segments))
    for vas in handles:
        vas.close()


def test_all_keys_in_use_end_in_a_timeout(trading: vasmem.Vas) -> None:
    handles = [vasmem.Vas.attach(trading.name) for _ in range(MANY)]
    entered: list[Any] = []

    def enter_all() -> None:
        for vas in handles:
            switch = vas.switch(timeout=0.05)
            use(switch.__enter__()["orders"])
            entered.append(switch)

    if _core.has_keys():
        with pytest.raises(vasmem.LockTimeout, match="protection keys"):
            enter_all()
        assert 0 < len(entered) < MANY
    else:
        enter_all()
    for switch in reversed(entered):
        switch.__exit__(None, None, None)
    for vas in handles:
        vas.close()


def test_a_forked_child_is_where_its_parent_was(trading: vasmem.Vas) -> None:
    with trading.switch() as space:
        users = space["orders"].hashmap("users")
        users["ada"] = 1
        child = os.fork()
        if child == 0:
            os._exit(0 if users["ada"] == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    child = os.fork()
    if child == 0:
        refused = is_refused(users.segment)
        with trading.switch():
            users["bob"] = 2
        os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with trading.switch():
        assert users["bob"] == 2


def test_a_signal_handler_runs_switched_in(trading: vasmem.Vas) -> None:
    seen: list[object] = []
    with trading.switch() as space:
        users = space["orders"].hashmap("users")

    def handler(number: int, _frame: Any) -> None:
        users["signal"] = number
        seen.append(vasmem.active_vas())

    before = trading.on_signal(signal.SIGUSR1, handler)
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert seen == [trading]
        assert is_refused(users.segment)
        with vasmem.Vas.attach(trading.name) as other, other.switch():
            signal.raise_signal(signal.SIGUSR1)
            assert vasmem.active_vas() is other
    finally:
        signal.signal(signal.SIGUSR1, before)
    with trading.switch():
        assert users["signal"] == signal.SIGUSR1
    seen.clear()


def test_a_transaction_may_end_outside(trading: vasmem.Vas) -> None:
    with trading.switch() as space:
        users = space["orders"].hashmap("users")
        transaction = space["orders"].transaction()
        transaction.__enter__()
        users["ada"] = 1
    transaction.__exit__(None, None, None)
    with trading.switch():
        assert users["ada"] == 1


def test_segments_are_closed_from_anywhere(trading: vasmem.Vas) -> None:
    vas = vasmem.Vas.attach(trading.name)
    with vas.switch() as space:
        use(space["orders"])
        segment = space["orders"]
    vas.close()
    with pytest.raises(vasmem.VasmemError, match="closed"):
        segment.hashmap("users")
    with vas.switch() as space, pytest.raises((vasmem.VasmemError, OSError)):
        space["orders"]


def test_threads_by_the_way_the_processor_allows(trading: vasmem.Vas) -> None:
    if _core.has_keys():
        switch = trading.switch(without_keys="refuse")
    else:
        with pytest.raises(vasmem.BackendUnavailable, match="no protection keys"):
            trading.switch(without_keys="refuse")
        switch = trading.switch()
    segments: list[vasmem.Segment] = []
    asked, go_on = threading.Event(), threading.Event()

    def other() -> None:
        go_on.wait(60)
        refused.append(is_refused(segments[0]))
        asked.set()

    refused: list[bool] = []
    started_before = threading.Thread(target=other)
    started_before.start()
    with switch as space:
        use(space["orders"])
        segments.append(space["orders"])
        go_on.set()
        assert asked.wait(60)
    started_before.join()
    assert refused == [True]
    assert in_thread(lambda: is_refused(segments[0]))
    with pytest.raises(ValueError, match="without_keys"):
        trading.switch(without_keys="maybe")  # type: ignore[arg-type]
    segments.clear()
