"""Attachments end once, at the end of their block, and say so to whoever uses them afterwards."""

import threading
from collections.abc import Callable

import pytest

import vasmem

SEGMENT_CALLS: dict[str, Callable[[vasmem.Segment], object]] = {
    "hashmap": lambda segment: segment.hashmap("users"),
    "btree": lambda segment: segment.btree("tree"),
    "set": lambda segment: segment.set("set"),
    "counter": lambda segment: segment.counter("counter"),
    "array": lambda segment: segment.array("array", 3, "f8"),
    "typed": lambda segment: segment.hashmap("typed", key="u8", value="f8"),
    "sorted": lambda segment: segment.btree("sorted", key="u8", value="f8"),
    "lock": lambda segment: segment.lock("lock"),
    "queue": lambda segment: segment.queue("queue", 3),
    "getitem": lambda segment: segment["users"],
    "delitem": lambda segment: segment.__delitem__("users"),
    "iter": list,
    "len": len,
    "contains": lambda segment: "users" in segment,
    "keys": lambda segment: list(segment.keys()),
    "transaction": lambda segment: segment.transaction().__enter__(),
    "atomic": lambda segment: segment.atomic(lambda: 1)(),
    "check": lambda segment: segment.check(),
    "info": lambda segment: segment.info(),
    "sync": lambda segment: segment.sync(),
    "writers": lambda segment: segment.writers,
    "crash": lambda segment: segment.crash(),
    "nvm": lambda segment: segment.nvm(),
    "wear": lambda segment: segment.wear(),
    "memory": lambda segment: segment.memory.area("area", 64),
}
MAP_CALLS: dict[str, Callable[[vasmem.HashMap], object]] = {
    "getitem": lambda users: users["k"],
    "get": lambda users: users.get("k"),
    "setitem": lambda users: users.__setitem__("k", 1),
    "delitem": lambda users: users.__delitem__("k"),
    "contains": lambda users: "k" in users,
    "len": len,
    "bool": bool,
    "iter": list,
    "keys": lambda users: list(users.keys()),
    "items": lambda users: list(users.items()),
    "values": lambda users: list(users.values()),
    "in items": lambda users: ("k", 1) in users.items(),
    "eq": lambda users: users == {"k": 1},
    "pop": lambda users: users.pop("k"),
    "pop default": lambda users: users.pop("k", None),
    "popitem": lambda users: users.popitem(),
    "setdefault": lambda users: users.setdefault("k", 1),
    "update": lambda users: users.update(k=1),
    "view": lambda users: users.view("k"),
    "iter_items": lambda users: list(users.iter_items()),
    "iter_values": lambda users: list(users.iter_values()),
    "clear": lambda users: users.clear(),
    "add": lambda users: users.add("new", 1),
    "incr": lambda users: users.incr("k", 1),
    "compare_and_set": lambda users: users.compare_and_set("k", 1, 2),
    "modify": lambda users: users.modify("k", lambda value: value),
    "get_many": lambda users: users.get_many(["k"]),
    "put_many": lambda users: users.put_many(["k"], [1]),
    "delete_many": lambda users: users.delete_many(["k"]),
}


@pytest.mark.parametrize("call", SEGMENT_CALLS.values(), ids=SEGMENT_CALLS.keys())
def test_a_closed_segment(segment: vasmem.Segment, call: Callable[..., object]) -> None:
    segment.hashmap("users")["k"] = 1
    segment.close()
    with pytest.raises(vasmem.VasmemError, match=r"segment .*test.* is closed here: attach it"):
        call(segment)


@pytest.mark.parametrize("call", MAP_CALLS.values(), ids=MAP_CALLS.keys())
def test_a_map_of_a_closed_segment(segment: vasmem.Segment, call: Callable[..., object]) -> None:
    users = segment.hashmap("users")
    users["k"] = 1
    segment.close()
    with pytest.raises(vasmem.VasmemError, match=r"segment .*test.* is closed here: attach it"):
        call(users)


def test_every_public_method_is_tried() -> None:
    properties = {"name", "raw", "segment"}
    tried = {name for name in dir(vasmem.HashMap) if not name.startswith("_")} - properties
    assert tried - set(MAP_CALLS) == set()
    facts = {"name", "url", "uuid", "promises", "size", "max_size", "used", "readonly", "guard"}
    facts.add("timeout")
    tried = {name for name in dir(vasmem.Segment) if not name.startswith("_")} - facts
    # Those of Mapping are made of the others; a segment may be closed twice.
    assert tried - set(SEGMENT_CALLS) == {"close", "get", "items", "values"}


def test_what_a_closed_segment_still_knows(segment: vasmem.Segment) -> None:
    facts = segment.name, segment.url, segment.uuid, segment.max_size, segment.readonly
    users = segment.hashmap("users")
    segment.close()
    segment.close()
    assert facts == (segment.name, segment.url, segment.uuid, segment.max_size, segment.readonly)
    assert "test" in repr(segment)
    assert "closed" in repr(users)


def test_blocks_nest_and_close_after_an_exception(segment: vasmem.Segment) -> None:
    outer = vasmem.attach(segment.url)
    with pytest.raises(ZeroDivisionError), outer, vasmem.attach(segment.url) as inner:
        outer.hashmap("users")["outer"] = 1
        inner["users"]["inner"] = 1
        raise ZeroDivisionError
    for ended in (outer, inner):
        with pytest.raises(vasmem.VasmemError, match="closed"):
            len(ended)
    with pytest.raises(vasmem.VasmemError, match="closed"), outer:
        len(outer)
    assert dict(segment["users"]) == {"outer": 1, "inner": 1}


def test_iterators_that_outlive_it(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users.update((number, number) for number in range(5000))
    iterators = [iter(users), iter(users.items()), iter(users.values())]
    for iterator in iterators:
        next(iterator)
    segment.close()
    for iterator in iterators:
        with pytest.raises(vasmem.VasmemError, match="closed"):
            list(iterator)


def test_a_transaction_that_is_closed_inside(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    with (
        vasmem.attach(segment.url) as own,
        pytest.raises(vasmem.VasmemError, match="closed"),
        own.transaction(),
    ):
        own["users"]["lost"] = 1
        own.close()
    assert dict(users) == {}
    users["kept"] = 1


def work(
    segment: vasmem.Segment, name: int, begun: threading.Barrier, raised: list[Exception]
) -> None:
    """Use a segment in every way until that raises."""
    users = segment["users"]
    keys = list(range(300))
    begun.wait()
    try:
        while True:
            users.put_many(keys, keys)
            users.get_many(keys)
            len(list(users))
            with segment.transaction():
                users[name] = name
    except Exception as error:
        raised.append(error)


def test_closed_while_threads_are_inside(segment: vasmem.Segment) -> None:
    """They finish or raise; what they held is free at once."""
    users = segment.hashmap("users")
    for _ in range(20):
        own = vasmem.attach(segment.url)
        begun = threading.Barrier(9)
        raised: list[Exception] = []
        threads = [
            threading.Thread(target=work, args=(own, name, begun, raised)) for name in range(8)
        ]
        for thread in threads:
            thread.start()
        begun.wait()
        own.close()
        for thread in threads:
            thread.join()
        assert [type(error) for error in raised] == [vasmem.VasmemError] * 8
        segment.timeout = 1
        with segment.transaction():
            users["after"] = 1
    assert segment.check() == []
