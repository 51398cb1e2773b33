"""Forks in the middle of everything: what the child does never harms the parent."""

import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable

import pytest
from test_fork import in_child

import vasmem


def test_a_child_that_closes_leaves_the_parents_transaction_alone(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    with vasmem.attach(segment.url) as other:
        other.timeout = 0.1
        with segment.transaction():
            users["n"] = 1
            assert in_child(segment.close) == 0
            with pytest.raises(vasmem.LockTimeout, match=f"process {os.getpid()} "):
                other["users"]["other"] = 1
            users["m"] = 2
    assert dict(users) == {"n": 1, "m": 2}


def test_a_child_that_leaves_the_block_does_not_commit(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    child = -1
    with vasmem.attach(segment.url) as other:
        other.timeout = 0.1
        try:
            with segment.transaction():
                users["n"] = 1
                child = os.fork()
                if child:
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                    with pytest.raises(vasmem.LockTimeout):
                        other["users"]["other"] = 1
        except vasmem.VasmemError:
            os._exit(7 if child == 0 else 1)
        if child == 0:
            os._exit(8)
    assert dict(users) == {"n": 1}


def test_grandchildren(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")

    def generation(number: int) -> None:
        with segment.transaction():
            users[number] = os.getpid()
        if number < 4:
            assert in_child(lambda: generation(number + 1)) == 0
        users["last"] = number

    generation(0)
    assert users.pop("last") == 0
    assert sorted(users) == [0, 1, 2, 3, 4]
    assert len(set(users.values())) == 5


def test_while_iterating(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users.update((number, number) for number in range(2000))
    iterators = [iter(users.items()), iter(users), iter(users.values())]
    for iterator in iterators:
        next(iterator)

    def child() -> None:
        users["child"] = 1
        assert [len(list(iterator)) >= 1999 for iterator in iterators] == [True] * 3

    assert in_child(child) == 0
    assert [len(list(iterator)) >= 1999 for iterator in iterators] == [True] * 3


def test_after_remove(make: Callable[..., vasmem.Segment]) -> None:
    segment = make()
    users, url = segment.hashmap("users"), segment.url
    vasmem.remove(url)

    def child() -> None:
        with segment.transaction():
            users["child"] = 1
        assert in_child(lambda: users.__setitem__("grandchild", 2)) == 0

    with segment.transaction():
        users["parent"] = 0
    assert in_child(child) == 0
    assert dict(users) == {"parent": 0, "child": 1, "grandchild": 2}
    vasmem.create(url).close()  # for the fixture, which removes it


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("transactions", [False, True])
def test_while_threads_write(segment: vasmem.Segment, transactions: bool) -> None:
    """A child has no thread that would give back what another thread held at the fork."""
    users = segment.hashmap("users")
    done = threading.Event()
    keys = list(range(500))

    def write(name: int) -> None:
        while not done.is_set():
            users.put_many(keys, keys)
            if transactions:
                with segment.transaction():
                    users[f"thread {name}"] = name

    def child(number: int) -> None:
        users[f"child {number}"] = number
        with segment.transaction():
            users[f"child {number}"] += 1

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_child(lambda number=number: child(number)) for number in range(30)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 30
    assert [users[f"child {number}"] for number in range(30)] == list(range(1, 31))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_while_a_thread_keeps_others_from_growing_it() -> None:
    """The child may grow it, although nobody there gives back what the thread held: a sync to a
    disk has the right to grow for milliseconds."""
    with tempfile.TemporaryDirectory(prefix="vasmem-test-", dir="/var/tmp") as disk:
        url = f"file://{disk}/orders"
        with vasmem.create(url, max_size="1G") as segment:
            blobs = segment.hashmap("blobs", raw=True)
            done = threading.Event()

            def sync() -> None:
                while not done.is_set():
                    blobs[b"synced"] = b"1"
                    segment.sync()

            def child() -> None:
                blobs[b"child"] = bytes(segment.size)

            thread = threading.Thread(target=sync)
            thread.start()
            try:
                codes = []
                for _ in range(6):
                    codes.append(in_child(child))
                    blobs[b"child"] = b""
            finally:
                done.set()
                thread.join()
            assert codes == [0] * 6
            assert segment.check() == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_while_a_thread_waits_inside_its_transaction(segment: vasmem.Segment) -> None:
    """The child may begin transactions, whatever the parent's other thread was doing."""
    users = segment.hashmap("users")
    inside, go = threading.Event(), threading.Event()

    def hold() -> None:
        with segment.transaction():
            users["thread"] = 1
            inside.set()
            go.wait()

    def child() -> None:
        segment.timeout = 0.1
        with pytest.raises(vasmem.LockTimeout):
            segment.transaction().__enter__()
        os.write(writing, b"x")
        segment.timeout = 10
        with segment.transaction():
            users["child"] = 2

    reading, writing = os.pipe()
    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    end = threading.Thread(target=lambda: (os.read(reading, 1), go.set()))
    end.start()
    assert in_child(child) == 0
    thread.join()
    end.join()
    os.close(reading)
    os.close(writing)
    assert dict(users) == {"thread": 1, "child": 2}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_in_a_thread(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    codes: list[int] = []

    def fork() -> None:
        with segment.transaction():
            users["thread"] = 1
            codes.append(in_child(lambda: users.get("thread") is None or os._exit(3)))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert codes == [0]
    assert users["thread"] == 1


@pytest.mark.parametrize("how", ["normal", "os._exit", "exception", "SIGKILL"])
def test_however_a_child_ends(segment: vasmem.Segment, how: str) -> None:
    users = segment.hashmap("users")

    def child() -> None:
        users["child"] = how
        if how == "exception":
            raise SystemExit(3)
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "os._exit":
            os._exit(0)
        gc.collect()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == {"exception": 3, "SIGKILL": -signal.SIGKILL}.get(how, 0)
    with segment.transaction():
        users["parent"] = 1
    assert dict(users) == {"child": how, "parent": 1}
