"""Operations of one writer, made from a seed: the writer runs them, the test foretells the result.

An operation changes one key in one of the structures, or in all of them in one transaction.
"""

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import vasmem

WRITERS = 4
KEYS_PER_WRITER = 60

State = dict[tuple[str, str], Any]


class Place:
    """A structure as values of bytes under keys of text; `kept` is what it keeps of a value."""

    def __init__(self, structure: Any) -> None:
        self.structure = structure

    @staticmethod
    def kept(key: str, value: bytes) -> tuple[str, Any]:
        return key, value

    def put(self, key: str, value: bytes) -> None:
        self.structure[key] = value

    def delete(self, key: str) -> None:
        self.structure.pop(key, None)

    def items(self) -> Iterator[tuple[str, Any]]:
        yield from self.structure.items()


class InSet(Place):
    """A key that has a value is in it."""

    @staticmethod
    def kept(key: str, value: bytes) -> tuple[str, Any]:  # noqa: ARG004
        return key, True

    def put(self, key: str, value: bytes) -> None:  # noqa: ARG002
        self.structure.add(key)

    def delete(self, key: str) -> None:
        self.structure.discard(key)

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((key, True) for key in self.structure)


class InTypedMap(Place):
    """Keys and values are numbers."""

    @staticmethod
    def kept(key: str, value: bytes) -> tuple[str, Any]:
        return key, number_of(value)

    def put(self, key: str, value: bytes) -> None:
        self.structure[row_of(key)] = number_of(value)

    def delete(self, key: str) -> None:
        self.structure.pop(row_of(key), None)

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((key_of(row), number) for row, number in self.structure.items())


class InArray(InTypedMap):
    """A row for each key, of the same number several times; of zeros where there is no value."""

    def delete(self, key: str) -> None:
        self.structure[row_of(key)] = 0

    def items(self) -> Iterator[tuple[str, Any]]:
        for row, numbers in enumerate(self.structure.read().tolist()):
            (number,) = set(numbers)
            if number:
                yield key_of(row), number


class InCounter(Place):
    """A field of some bits for each writer, whatever the key."""

    BITS = 14

    @classmethod
    def kept(cls, key: str, value: bytes) -> tuple[str, Any]:
        return key.partition("/")[0] + "/", number_of(value) % (1 << cls.BITS)

    def put(self, key: str, value: bytes) -> None:
        self._set(key, self.kept(key, value)[1])

    def delete(self, key: str) -> None:
        self._set(key, 0)

    def _set(self, key: str, number: int) -> None:
        writer = int(key.partition("/")[0])
        self.structure.incr((number - self._fields()[writer]) << (self.BITS * writer))

    def _fields(self) -> list[int]:
        value = self.structure.value
        return [value >> (self.BITS * writer) & (1 << self.BITS) - 1 for writer in range(WRITERS)]

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((f"{writer}/", field) for writer, field in enumerate(self._fields()) if field)


ROWS = WRITERS * KEYS_PER_WRITER
PLACES: dict[str, tuple[type[Place], Callable[[vasmem.Segment, str], Any]]] = {
    "hashmap": (Place, lambda segment, name: segment.hashmap(name)),
    "btree": (Place, lambda segment, name: segment.btree(name)),
    "typed": (InTypedMap, lambda segment, name: segment.hashmap(name, key="u2", value="u8")),
    "sorted": (InTypedMap, lambda segment, name: segment.btree(name, key="u2", value="u8")),
    "set": (InSet, lambda segment, name: segment.set(name)),
    "array": (InArray, lambda segment, name: segment.array(name, (ROWS, 5), "u8")),
    "counter": (InCounter, lambda segment, name: segment.counter(name)),
}


def places(segment: vasmem.Segment, names: tuple[str, ...]) -> dict[str, Place]:
    """The structures, each of the kind that its name begins with."""
    found = {}
    for name in names:
        kind, make = PLACES[name.partition(" ")[0]]
        found[name] = kind(make(segment, name))
    return found


def row_of(key: str) -> int:
    writer, _, number = key.partition("/")
    return int(writer) * KEYS_PER_WRITER + int(number)


def key_of(row: int) -> str:
    return "{}/{}".format(*divmod(row, KEYS_PER_WRITER))


def number_of(value: bytes) -> int:
    """Never 0."""
    return zlib.crc32(value) | 1


@dataclass(frozen=True)
class Operation:
    """Sets `key` to `value` in all of the structures, or deletes it there if `value` is None."""

    key: str
    names: tuple[str, ...]
    value: bytes | None


def operations(seed: int, writer: int, count: int, names: tuple[str, ...]) -> Iterator[Operation]:
    """`count` operations on the keys that belong to `writer` alone."""
    chance = random.Random(f"{seed}/{writer}")
    for number in range(count):
        key = f"{writer}/{chance.randrange(KEYS_PER_WRITER)}"
        some = names if chance.random() < 0.2 else (chance.choice(names),)
        size = chance.choice([0, 10, 10, 100, 100, 1000, 20_000])
        value = None if chance.random() < 0.25 else b"%d.%d." % (seed, number) + bytes(size)
        yield Operation(key, some, value)


def apply(state: State, operation: Operation) -> State:
    """The state after the operation."""
    after = dict(state)
    for name in operation.names:
        kind, _ = PLACES[name.partition(" ")[0]]
        key, kept = kind.kept(operation.key, operation.value or b"")
        if operation.value is None:
            after.pop((name, key), None)
        else:
            after[name, key] = kept
    return after
