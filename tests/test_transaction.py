import asyncio
import threading
from collections.abc import Callable

import pytest

import vasmem

Make = Callable[..., vasmem.Segment]


@pytest.fixture
def maps(segment: vasmem.Segment) -> tuple[vasmem.HashMap, vasmem.HashMap]:
    return segment.hashmap("one"), segment.hashmap("two", raw=True)


Maps = tuple[vasmem.HashMap, vasmem.HashMap]


def test_commits_across_structures(segment: vasmem.Segment, maps: Maps) -> None:
    one, two = maps
    one["old"] = 1
    with vasmem.attach(segment.url, readonly=True) as reader:
        with segment.transaction() as inside:
            assert inside is segment
            one["new"] = [1, 2]
            del one["old"]
            two[b"k"] = b"v"
            assert dict(one) == {"new": [1, 2]}
            assert len(one) == 1
            assert "old" not in one
            assert two[b"k"] == b"v"
            assert dict(reader["one"]) == {"old": 1}, "visible before the commit"
            assert len(reader["one"]) == 1
            assert dict(reader["two"]) == {}
        assert dict(reader["one"]) == {"new": [1, 2]}
        assert dict(reader["two"]) == {b"k": b"v"}


def test_an_exception_undoes_everything(segment: vasmem.Segment, maps: Maps) -> None:
    one, two = maps
    one["kept"] = 1
    used = segment.used
    for exception in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(exception), segment.transaction():
            one["kept"] = 2
            one["lost"] = "x" * 100_000
            two[b"k"] = bytes(100)
            raise exception
        assert dict(one) == {"kept": 1}
        assert dict(two) == {}
    assert segment.used <= used + (1 << 16), "what was undone still takes memory"


def test_a_structure_made_inside_goes_with_it(segment: vasmem.Segment) -> None:
    with pytest.raises(ValueError, match="no"), segment.transaction():
        segment.hashmap("new")["k"] = 1
        assert "new" in segment
        raise ValueError("no")
    assert "new" not in segment
    with segment.transaction():
        segment.hashmap("new")["k"] = 1
    assert segment["new"]["k"] == 1


def test_a_large_one(segment: vasmem.Segment, maps: Maps) -> None:
    one, two = maps
    with segment.transaction():
        for number in range(3000):
            one[number] = str(number) * 10
            two[b"%d" % number] = bytes(300)
    assert len(one) == len(two) == 3000
    with segment.transaction():
        one.clear()
        for number in range(0, 3000, 2):
            del two[b"%d" % number]
    assert len(one) == 0
    assert len(two) == 1500


def test_values_are_replaced_in_tables_that_were_just_split(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users.update((number, "old") for number in range(300))
    with segment.transaction():
        for number in range(300, 9_000):
            users[number] = "new"
            users[number % 300] = "now"
        assert users.get_many(range(300)) == ["now"] * 300
    assert dict(users) == {number: "now" if number < 300 else "new" for number in range(9_000)}


def test_one_inside_another_is_undone_alone(segment: vasmem.Segment, maps: Maps) -> None:
    one, two = maps
    one["kept"] = 0
    with segment.transaction():
        one["outer"] = 1
        with pytest.raises(ValueError, match="no"), segment.transaction():
            one["kept"] = 2
            one["inner"] = "x" * 20_000
            del one["outer"]
            two[b"k"] = b"v"
            with segment.transaction():
                two[b"deeper"] = b"v"
            raise ValueError("no")
        assert dict(one) == {"kept": 0, "outer": 1}
        assert dict(two) == {}
        with segment.transaction():
            one["more"] = 3
    assert dict(one) == {"kept": 0, "outer": 1, "more": 3}


def test_what_was_undone_inside_leaves_no_block(segment: vasmem.Segment, maps: Maps) -> None:
    one, _ = maps
    for _ in range(3):
        with segment.transaction():
            for number in range(600):
                one[number] = "old"
            with pytest.raises(KeyError), segment.transaction():
                for number in range(3000):
                    one[number] = "x" * (number % 300)
                raise KeyError
            assert len(one) == 600
            one.clear()
    assert len(one) == 0
    assert segment.check() == []


def test_an_operation_that_failed_half_way_is_never_committed(make: Make) -> None:
    segment = make(size="1M", max_size="2M")
    one = segment.hashmap("one")
    one["kept"] = 1
    with pytest.raises(vasmem.VasmemError, match="half-way"), segment.transaction():
        one["lost"] = 1
        with pytest.raises(vasmem.SegmentFull):
            one["large"] = "x" * 3_000_000
    assert dict(one) == {"kept": 1}
    with segment.transaction():
        one["outer"] = 1
        with pytest.raises(vasmem.SegmentFull), segment.transaction():
            one["large"] = "x" * 3_000_000
    assert dict(one) == {"kept": 1, "outer": 1}


def test_it_belongs_to_its_thread(segment: vasmem.Segment, maps: Maps) -> None:
    one, _ = maps
    one["n"] = 0
    seen: list[int] = []
    wrote = threading.Event()

    def other() -> None:
        seen.append(one["n"])
        one["other"] = 1
        wrote.set()

    thread = threading.Thread(target=other)
    with segment.transaction():
        one["n"] = 1
        thread.start()
        assert not wrote.wait(0.3), "another thread wrote in the middle of the transaction"
    thread.join(10)
    assert seen == [0]
    assert dict(one) == {"n": 1, "other": 1}


def test_it_belongs_to_its_task(segment: vasmem.Segment, maps: Maps) -> None:
    one, _ = maps
    one["n"] = 0

    async def writer(inside: asyncio.Event, go: asyncio.Event) -> None:
        with segment.transaction():
            one["n"] = 1
            inside.set()
            await go.wait()
            one["m"] = 1

    async def main() -> None:
        inside, go = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(writer(inside, go))
        await inside.wait()
        assert dict(one) == {"n": 0}, "another task's transaction is visible here"
        go.set()
        await task

    asyncio.run(main())
    assert dict(one) == {"n": 1, "m": 1}


def test_waiting_ends_in_a_timeout_that_names_the_holder(
    segment: vasmem.Segment, maps: Maps
) -> None:
    one, _ = maps
    failed: list[vasmem.LockTimeout] = []

    def attempt(operation: Callable[[], object]) -> None:
        try:
            operation()
        except vasmem.LockTimeout as error:
            failed.append(error)

    def other() -> None:
        with vasmem.attach(segment.url) as mine:
            mine.timeout = 0.1
            attempt(lambda: mine["one"].update(x=1))
            attempt(lambda: mine.transaction().__enter__())
            attempt(lambda: mine.transaction(timeout=0.2).__enter__())

    thread = threading.Thread(target=other)
    with segment.transaction():
        one["n"] = 1
        thread.start()
        thread.join(10)
    assert len(failed) == 3
    assert all(isinstance(error, TimeoutError) for error in failed)
    assert dict(one) == {"n": 1}
