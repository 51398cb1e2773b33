"""Handles in the tasks of one event loop, and in the threads of its executors."""

import asyncio
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

import vasmem


def test_tasks_take_turns(segment: vasmem.Segment) -> None:
    counts = segment.hashmap("counts")

    async def count(key: int) -> None:
        for _ in range(20):
            counts.incr("all", 1)
            with segment.transaction():
                counts[key] = counts.get(key, 0) + 1
                counts["sum"] = counts.get("sum", 0) + 1
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(count(key) for key in range(10)))

    asyncio.run(main())
    assert dict(counts) == {**dict.fromkeys(range(10), 20), "all": 200, "sum": 200}


def test_a_transaction_is_its_tasks(segment: vasmem.Segment) -> None:
    """Another task of the same thread is not in it: it reads around it, and does not write."""
    users = segment.hashmap("users")
    segment.timeout = 0.1

    async def first(begun: asyncio.Event, tried: asyncio.Event) -> None:
        with segment.transaction():
            users["first"] = 1
            begun.set()
            await tried.wait()
            users["again"] = users["first"] + 1

    async def second(begun: asyncio.Event, tried: asyncio.Event) -> None:
        await begun.wait()
        assert "first" not in users
        for write in (lambda: users.__setitem__("second", 1), segment.transaction().__enter__):
            with pytest.raises(vasmem.LockTimeout, match="the transaction of process"):
                write()
        tried.set()

    async def main() -> None:
        begun, tried = asyncio.Event(), asyncio.Event()
        await asyncio.gather(first(begun, tried), second(begun, tried))

    asyncio.run(main())
    assert dict(users) == {"first": 1, "again": 2}


def test_a_cancelled_task_undoes_its_transaction(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")

    async def change(begun: asyncio.Event) -> None:
        with segment.transaction():
            users["k"] = 1
            begun.set()
            await asyncio.sleep(60)

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(change(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        users["after"] = 1

    asyncio.run(main())
    assert dict(users) == {"after": 1}


def test_a_task_lends_its_transaction_to_a_thread(segment: vasmem.Segment) -> None:
    """`asyncio.to_thread` takes the context along; an executor does not."""
    users = segment.hashmap("users")
    segment.timeout = 0.1

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="undo"), segment.transaction():
            await asyncio.to_thread(users.__setitem__, "in it", 1)
            assert users["in it"] == 1
            with pytest.raises(vasmem.LockTimeout):
                await loop.run_in_executor(None, users.__setitem__, "beside it", 1)
            assert await loop.run_in_executor(None, users.get, "in it") is None
            raise RuntimeError("undo")
        with segment.transaction():
            await asyncio.to_thread(users.__setitem__, "in it", 2)

    asyncio.run(main())
    assert dict(users) == {"in it": 2}


def test_executors(segment: vasmem.Segment) -> None:
    counts = segment.hashmap("counts")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            ThreadPoolExecutor(8) as threads,
            ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
        ):
            calls = [loop.run_in_executor(threads, counts.incr, "n", 1) for _ in range(400)]
            calls += [loop.run_in_executor(processes, counts.incr, "n", 1) for _ in range(20)]
            for _ in range(100):
                assert counts.get("n", 0) >= 0
                await asyncio.sleep(0)
            await asyncio.gather(*calls)

    asyncio.run(main())
    assert dict(counts) == {"n": 420}
    assert segment.check() == []
