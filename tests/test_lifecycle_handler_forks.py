"""A signal handler that forks in the middle of an operation, which waits then.

What the parent holds (locks, a record, the token) is the parent's. The child may end inside the
handler, or return from it: then the operation raises there, and goes on in the parent.
"""

import os
import signal
from collections.abc import Callable

import pytest
from obstacles import committing, token_held
from test_lifecycle_signals import signalled

import vasmem
from vasmem import backends
from vasmem.backends import Backend


@pytest.fixture
def backend() -> Backend:
    """One is enough: no backend waits."""
    return backends.get("shm")


class Forked(Exception):
    """Raised in the child, out of the handler."""


def wait_for(children: list[int]) -> None:
    (child,) = children
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def with_a_child(call: Callable[[], object], child: Callable[[], object]) -> list[int]:
    """Run `call`; a handler forks while it waits, and `child` takes over what it raises there."""
    children: list[int] = []
    with pytest.raises(vasmem.LockTimeout), signalled(signal.SIGUSR1, fork_into(children), 0.2):
        try:
            call()
        except vasmem.VasmemError as error:
            if children[-1:] == [0]:
                end_child(child, error)
            raise
    return children


def fork_into(children: list[int]) -> Callable[..., None]:
    return lambda *_: children.append(os.fork())


def end_child(child: Callable[[], object], error: Exception | None = None) -> None:
    status = 1
    try:
        assert error is None or "forked this process in the middle of an operation" in str(error)
        child()
        status = 0
    except BaseException as failure:
        os.write(2, f"child: {failure!r}\n".encode())
    finally:
        os._exit(status)


CALLS: dict[str, Callable[[vasmem.Segment], object]] = {
    "put": lambda segment: segment["blobs"].__setitem__(b"large", b"written"),
    "put_many": lambda segment: segment["blobs"].put_many([b"large"], [b"written"]),
    "modify": lambda segment: segment["blobs"].modify(b"large", lambda _: b"written"),
    "transaction": lambda segment: segment.transaction().__enter__(),
    "check": lambda segment: segment.check(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_child_returns_from_the_handler(
    segment: vasmem.Segment, call: Callable[[vasmem.Segment], object]
) -> None:
    users = segment.hashmap("users")

    def child() -> None:
        # The parent has the token while it waits in a check, or to begin a transaction.
        if call not in (CALLS["transaction"], CALLS["check"]):
            users["child"] = 1
        assert segment["blobs"][b"large"]

    with committing(segment):
        segment.timeout = 0.5
        wait_for(with_a_child(lambda: call(segment), child))
    segment.timeout = 10
    segment["blobs"][b"large"] = b"after"
    with segment.transaction():
        users["parent"] = 1
    assert segment["blobs"][b"large"] == b"after"
    assert segment.check() == []


def test_it_returns_while_another_has_the_token(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    with token_held(segment):
        segment.timeout = 0.5
        wait_for(with_a_child(lambda: users.__setitem__("k", 1), lambda: len(users)))
    segment.timeout = 10
    users["k"] = 2
    assert dict(users) == {"k": 2}


def test_the_parents_token_stays_its_own(segment: vasmem.Segment) -> None:
    """It waits for a commit, with the token; when the child has gone it still has it."""
    users = segment.hashmap("users")
    children: list[int] = []

    def fork_and_continue(*_: object) -> None:
        children.append(os.fork())
        if children[-1]:
            wait_for(children)
            with vasmem.attach(segment.url) as another:
                another.timeout = 0.2
                with pytest.raises(vasmem.LockTimeout, match=f"process {os.getpid()} "):
                    another["users"]["another"] = 1
            os.kill(stopped, signal.SIGCONT)

    with committing(segment) as process:
        stopped = process.pid
        try:
            with signalled(signal.SIGUSR1, fork_and_continue, 0.2), segment.transaction():
                users["parent"] = 1
                process.kill()
        except vasmem.VasmemError as error:
            if children[-1:] == [0]:
                end_child(lambda: None, error)
            raise
    assert dict(users) == {"parent": 1}
    assert segment.check() == []


def test_the_child_ends_in_the_handler(segment: vasmem.Segment) -> None:
    """Before that it uses the segment, on a lane of its own."""
    users = segment.hashmap("users")
    children: list[int] = []

    def use() -> None:
        users["child"] = os.getpid()
        assert segment["blobs"][b"large"]
        blobs = segment.hashmap("of the child", raw=True)
        blobs.put_many([b"%d" % n for n in range(1000)], [bytes(1000)] * 1000)

    def fork(*_: object) -> None:
        child = os.fork()
        if child == 0:
            end_child(use)
        children.append(child)

    with committing(segment):
        segment.timeout = 0.5
        with (
            pytest.raises(vasmem.LockTimeout),
            signalled(signal.SIGUSR1, fork, 0.2),
        ):
            segment["blobs"][b"large"] = b"written"
        wait_for(children)
        assert users["child"] == children[0]
    segment.timeout = 10
    segment["blobs"][b"large"] = b"after"
    assert len(segment["of the child"]) == 1000
    assert segment.check() == []


def test_what_the_child_raises_in_the_handler_arrives(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")

    def fork(*_: object) -> None:
        child = os.fork()
        if child == 0:
            raise Forked
        children.append(child)

    children: list[int] = []
    segment.timeout = 0.5
    with (
        token_held(segment),
        pytest.raises(vasmem.LockTimeout),
        signalled(signal.SIGUSR1, fork, 0.2),
    ):
        try:
            users["k"] = 1
        except Forked:
            os._exit(0)
        except vasmem.VasmemError:
            if not children:
                os._exit(1)
            raise
    wait_for(children)
    assert dict(users) == {}
