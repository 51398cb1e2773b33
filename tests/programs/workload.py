"""Operations of one writer, made from a seed: the writer runs them, the test foretells the result.

An operation changes one key in one map, or in both maps in one transaction.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

KEYS_PER_WRITER = 40
MAPS = ("one", "two")

State = dict[tuple[str, str], bytes]


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
