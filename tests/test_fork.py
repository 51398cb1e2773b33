"""Handles survive fork; parent and child are then as unrelated as any two processes."""

import os
import signal
from collections.abc import Callable

import pytest

import vasmem


def in_child(function: Callable[[], object]) -> int:
    """Run it in a forked child; returns 0, or the negative number of the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_both_go_on_with_the_same_handles(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users["parent"] = 1

    def child() -> None:
        assert users["parent"] == 1
        users["child"] = 2
        with segment.transaction():
            users["both"] = users["parent"] + users["child"]
        assert segment.check() == []

    for _ in range(3):
        assert in_child(child) == 0
        assert dict(users) == {"parent": 1, "child": 2, "both": 3}
        users["parent"] = 1


def test_after_removal_the_child_still_finds_its_locks(make: Callable[..., vasmem.Segment]) -> None:
    segment = make()
    users = segment.hashmap("users")
    url = segment.url
    vasmem.remove(url)

    def child() -> None:
        users["child"] = 2
        assert segment.check() == []

    assert in_child(child) == 0
    assert users["child"] == 2
    vasmem.create(url).close()  # for the fixture, which removes it


def test_a_killed_child_takes_nothing_along(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")

    def child() -> None:
        with segment.transaction():
            users["child"] = "lost"
            os.kill(os.getpid(), signal.SIGKILL)

    for number in range(5):
        assert in_child(child) == -signal.SIGKILL
        users[number] = "kept"
    assert sorted(users) == [0, 1, 2, 3, 4]


def test_a_dead_parent_does_not_live_on_in_its_child(segment: vasmem.Segment) -> None:
    """The child must not keep the parent's locks, or nobody would clean up after the parent."""
    users = segment.hashmap("users")
    reading, writing = os.pipe()

    def parent() -> None:
        with vasmem.attach(segment.url) as own, own.transaction():
            own["users"]["parent"] = "lost"
            if os.fork() == 0:
                os.read(reading, 1)  # outlives the parent until the test is done
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(parent) == -signal.SIGKILL
    segment.timeout = 5
    users["test"] = 1
    assert dict(users) == {"test": 1}
    os.write(writing, b"x")
    os.close(writing)
    os.close(reading)


def test_a_transaction_stays_with_the_parent(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users["n"] = 0

    def child() -> None:
        assert users["n"] == 0, "the child sees what the parent has not committed"
        segment.timeout = 0.2
        with pytest.raises(vasmem.LockTimeout):
            users["n"] = 2

    with segment.transaction():
        users["n"] = 1
        assert in_child(child) == 0
    assert users["n"] == 1
