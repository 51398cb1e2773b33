"""Operations of one writer, made from a seed: the writer runs them, the test foretells the result.

An operation changes one key in one of the maps, or in all of them in one transaction.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import vasmem

KEYS_PER_WRITER = 60
MAPS = ("one", "two", "tree")

Map = vasmem.HashMap[str, bytes] | vasmem.BTree[str, bytes]
State = dict[tuple[str, str], bytes]


def structure(segment: vasmem.Segment, name: str) -> Map:
    """The map of that name: the tree is a B-tree."""
    return segment.btree(name) if name == "tree" else segment.hashmap(name)


@dataclass(frozen=True)
class Operation:
    """Sets `key` to `value` in every map of `maps`, or deletes it there where `value` is None."""

    key: str
    maps: tuple[str, ...]
    value: bytes | None


def operations(seed: int, writer: int, count: int) -> Iterator[Operation]:
    """`count` operations on the keys that belong to `writer` alone."""
    chance = random.Random(f"{seed}/{writer}")
    for number in range(count):
        key = f"{writer}/{chance.randrange(KEYS_PER_WRITER)}"
        maps = MAPS if chance.random() < 0.2 else (chance.choice(MAPS),)
        size = chance.choice([0, 10, 10, 100, 100, 1000, 20_000])
        value = None if chance.random() < 0.25 else b"%d.%d." % (seed, number) + bytes(size)
        yield Operation(key, maps, value)


def apply(state: State, operation: Operation) -> State:
    """The state after the operation."""
    after = dict(state)
    for name in operation.maps:
        if operation.value is None:
            after.pop((name, operation.key), None)
        else:
            after[name, operation.key] = operation.value
    return after
