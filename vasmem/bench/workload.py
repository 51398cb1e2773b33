"""The workload that every store gets: random records, fresh keys and values, and timed rows."""

from __future__ import annotations

import contextlib
import gc
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

KEY_BYTES = 16
VALUE_BYTES = 100
# A record of this value is of a smaller size class than one of VALUE_BYTES (8 + 16 + 72 = 96 bytes
# against 124), so that growing back to VALUE_BYTES needs a new record.
SHORT_VALUE_BYTES = 72
# Keys and values are made this many at a time right before they are used: fresh, and in cache, as
# they are in a program that has just computed them.
CHUNK = 1000
BATCH = 100


class Operation(NamedTuple):
    """One kind of row. `before` is what its keys must be before timing, `after` what it undoes."""

    call: str
    before: str = "present"
    after: str = "present"


OPERATIONS = {
    "get": Operation("get_item"),
    "miss": Operation("get", before="unknown", after="unknown"),
    "get_many": Operation("get_many"),
    "put in place": Operation("put"),
    "put new record": Operation("put", before="short"),
    "put_many in place": Operation("put_many"),
    "put_many new record": Operation("put_many", before="short"),
    "delete": Operation("delete", after="absent"),
    "insert": Operation("put", before="absent"),
}


class Store(Protocol):
    """What a benchmark knows of a store. Times are ns for the whole list, loop included."""

    name: str

    def get_item(self, keys: list[bytes]) -> int: ...
    def get(self, keys: list[bytes]) -> int: ...
    def get_many(self, keys: list[bytes]) -> int: ...
    def put(self, keys: list[bytes], values: list[bytes]) -> int: ...
    def put_many(self, keys: list[bytes], values: list[bytes]) -> int: ...
    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        """Reads the keys whose value is None, puts the others."""
        ...

    def delete(self, keys: list[bytes]) -> int: ...
    def supports(self, call: str) -> bool: ...
    def bulk_put(self, keys: list[bytes], values: list[bytes]) -> None: ...
    def bulk_delete(self, keys: list[bytes]) -> None: ...
    def read(self, key: bytes) -> bytes | None: ...
    def count(self) -> int: ...
    def close(self) -> None: ...


class Chunk(NamedTuple):
    """The keys of `CHUNK` operations, by index, and where their values start in the pool."""

    indices: list[int]
    value_start: int


class Workload:
    """`records` random keys and a source of values, the same for the same seed."""

    def __init__(self, records: int, seed: int) -> None:
        self.records = records
        self.random = np.random.default_rng(seed)
        self._keys = self.random.bytes(KEY_BYTES * records)
        self._unknown = self.random.bytes(KEY_BYTES * records)
        self._pool = self.random.bytes(1 << 20)

    def keys(self, indices: Sequence[int], *, unknown: bool = False) -> list[bytes]:
        """New key objects; `unknown` ones are in no store."""
        source = self._unknown if unknown else self._keys
        return [source[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in indices]

    def values(self, start: int, count: int, size: int = VALUE_BYTES) -> list[bytes]:
        """New value objects, all different."""
        pool = self._pool
        return [pool[at : at + size] for at in range(start, start + count)]

    def chunks(self, indices: np.ndarray) -> list[Chunk]:
        starts = self.random.integers(0, (1 << 20) - CHUNK - VALUE_BYTES, len(indices))
        return [
            Chunk(indices[at : at + CHUNK].tolist(), int(starts[at]))
            for at in range(0, len(indices), CHUNK)
        ]

    def samples(self, count: int, each: int) -> list[list[Chunk]]:
        """`count` disjoint random samples of `each` records."""
        if count * each > self.records:
            raise ValueError(f"{count} samples of {each} need more than {self.records} records")
        order = self.random.permutation(self.records)
        return [self.chunks(order[n * each : (n + 1) * each]) for n in range(count)]


def indices(numbers: Sequence[int]) -> np.ndarray:
    """Of records, in this order."""
    return np.array(numbers, np.int64)


def fill(store: Store, workload: Workload, chunks: list[Chunk], size: int = VALUE_BYTES) -> None:
    """Stores a value of `size` bytes for every key of the chunks, untimed."""
    for chunk in chunks:
        values = workload.values(chunk.value_start, len(chunk.indices), size)
        store.bulk_put(workload.keys(chunk.indices), values)


def clear(store: Store, workload: Workload, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        store.bulk_delete(workload.keys(chunk.indices))


def prepare(store: Store, workload: Workload, operation: Operation, chunks: list[Chunk]) -> None:
    """Brings the row's keys into the state it starts from."""
    if operation.before in ("short", "absent"):
        # A shorter value might stay in its old, larger block: only a new record is surely small.
        clear(store, workload, chunks)
    if operation.before == "short":
        fill(store, workload, chunks, SHORT_VALUE_BYTES)


def restore(store: Store, workload: Workload, operation: Operation, chunks: list[Chunk]) -> None:
    if operation.after == "absent":
        fill(store, workload, chunks)


def fresh(workload: Workload, operation: Operation, chunk: Chunk) -> tuple[list[bytes], ...]:
    """The arguments of one call of the operation: new key objects, for put new values too."""
    keys = workload.keys(chunk.indices, unknown=operation.before == "unknown")
    if operation.call not in ("put", "put_many"):
        return (keys,)
    return keys, workload.values(chunk.value_start, len(keys))


def row(store: Store, workload: Workload, operation: Operation, chunks: list[Chunk]) -> float:
    """Runs the operation on every chunk; ns per operation, its rare slow ones included."""
    call = getattr(store, operation.call)
    total = 0
    for chunk in chunks:
        total += call(*fresh(workload, operation, chunk))
    return total / sum(len(chunk.indices) for chunk in chunks)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No cyclic garbage collection inside."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Spread(NamedTuple):
    """The median of some figures and how far they spread."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        return cls(statistics.median(figures), min(figures), max(figures))

    def text(self, digits: int = 2) -> str:
        median, low, high = (f"{figure:.{digits}f}" for figure in self)
        return f"{median} [{low}..{high}]"
