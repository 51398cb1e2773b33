"""What a contestant is: a store behind the face of the workload, and what is to be said of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

from vasmem.bench.workload import BATCH, Store


class Site(NamedTuple):
    """Where a store is made: a directory of this run, and for how many records."""

    directory: Path
    records: int


@dataclass(frozen=True)
class Contestant:
    """A store, at its best fair settings for records of 16 + 100 bytes.

    `attach` opens from another process what `make` made there; None where only one process may have
    it. `survives` is what it promises, `records_max` how many records it is loaded with at most,
    since more would take too long. `missing` says why it cannot run here, or nothing.
    """

    name: str
    settings: str
    survives: str
    make: Callable[[Site], Store]
    attach: Callable[[Site], Store] | None = None
    ordered: bool = False
    records_max: int | None = None
    missing: Callable[[], str | None] = lambda: None


def needs(*modules: str) -> Callable[[], str | None]:
    """Whether packages are there."""

    def missing() -> str | None:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        names = " ".join(PACKAGES.get(name, name) for name in absent)
        return f"pip install {names}" if absent else None

    return missing


PACKAGES = {"lmdb": "lmdb", "UltraDict": "UltraDict atomics"}


class Calls:
    """A store with a function for each operation. The loops add nothing but the call itself."""

    name: str
    get_one: Callable[[bytes], Any]
    put_one: Callable[[bytes, bytes], Any]
    delete_one: Callable[[bytes], Any]
    get_batch: Callable[[Sequence[bytes]], Any] | None = None
    put_batch: Callable[[list[bytes], list[bytes]], Any] | None = None
    scan_one: Callable[[bytes, int], Any] | None = None
    # Puts all of them, and returns when a power failure could not take them back.
    commit_durably: Callable[[list[bytes], list[bytes]], Any] | None = None
    # Processes whose time is part of this store's.
    servers: tuple[int, ...] = ()

    def get(self, keys: list[bytes]) -> int:
        get = self.get_one
        start = perf_counter_ns()
        for key in keys:
            get(key)
        return perf_counter_ns() - start

    get_item = get

    def get_many(self, keys: list[bytes]) -> int:
        get_batch = self.get_batch
        assert get_batch is not None
        batches = [keys[at : at + BATCH] for at in range(0, len(keys), BATCH)]
        start = perf_counter_ns()
        for batch in batches:
            get_batch(batch)
        return perf_counter_ns() - start

    def put(self, keys: list[bytes], values: list[bytes]) -> int:
        put = self.put_one
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            put(key, value)
        return perf_counter_ns() - start

    def put_many(self, keys: list[bytes], values: list[bytes]) -> int:
        put_batch = self.put_batch
        assert put_batch is not None
        start = perf_counter_ns()
        put_batch(keys, values)
        return perf_counter_ns() - start

    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        get, put = self.get_one, self.put_one
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                get(key)
            else:
                put(key, value)
        return perf_counter_ns() - start

    def modify(self, keys: list[bytes], values: list[bytes | None]) -> int:
        get, put = self.get_one, self.put_one
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            get(key)
            if value is not None:
                put(key, value)
        return perf_counter_ns() - start

    def delete(self, keys: list[bytes]) -> int:
        delete = self.delete_one
        start = perf_counter_ns()
        for key in keys:
            delete(key)
        return perf_counter_ns() - start

    def scan(self, keys: list[bytes], length: int) -> int:
        scan = self.scan_one
        assert scan is not None
        start = perf_counter_ns()
        for key in keys:
            scan(key, length)
        return perf_counter_ns() - start

    def supports(self, call: str) -> bool:
        needed = {"get_many": "get_batch", "put_many": "put_batch", "scan": "scan_one"}.get(call)
        return needed is None or getattr(self, needed) is not None

    def bulk_put(self, keys: list[bytes], values: list[bytes]) -> None:
        if self.put_batch is not None:
            self.put_batch(keys, values)
        else:
            self.put(keys, values)

    def bulk_delete(self, keys: list[bytes]) -> None:
        self.delete(keys)

    def read(self, key: bytes) -> bytes | None:
        return self.get_one(key)  # type: ignore[no-any-return]

    def count(self) -> int:
        raise TypeError(f"{self.name} does not count")

    def close(self) -> None:
        """Ends it, and removes what it left outside its directory."""
