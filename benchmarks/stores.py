"""The stores behind one face, with their timed loops: nothing stands between loop and store."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from . import harness

# Enough for the largest run here; only what is written takes memory.
MAX_BYTES = 8 << 30
# Segments start small, so that loading pays for growth as a user's program does.
START_BYTES = 64 << 20


class MappingStore:
    """A mapping of bytes to bytes: vasmem and the floor."""

    def __init__(self, name: str, mapping: Any, close: Callable[[], None]) -> None:
        self.name = name
        self.map = mapping
        self._close = close

    def get_item(self, keys: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key in keys:
            mapping[key]
        return perf_counter_ns() - start

    def get(self, keys: list[bytes]) -> int:
        get = self.map.get
        start = perf_counter_ns()
        for key in keys:
            get(key)
        return perf_counter_ns() - start

    def get_many(self, keys: list[bytes]) -> int:
        get_many = self.map.get_many
        batches = [keys[at : at + harness.BATCH] for at in range(0, len(keys), harness.BATCH)]
        start = perf_counter_ns()
        for batch in batches:
            get_many(batch)
        return perf_counter_ns() - start

    def put(self, keys: list[bytes], values: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            mapping[key] = value
        return perf_counter_ns() - start

    def put_many(self, keys: list[bytes], values: list[bytes]) -> int:
        put_many = self.map.put_many
        start = perf_counter_ns()
        put_many(keys, values)
        return perf_counter_ns() - start

    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                mapping[key]
            else:
                mapping[key] = value
        return perf_counter_ns() - start

    def delete(self, keys: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key in keys:
            del mapping[key]
        return perf_counter_ns() - start

    def supports(self, call: str) -> bool:
        return call not in ("get_many", "put_many") or hasattr(self.map, call)

    def bulk_put(self, keys: list[bytes], values: list[bytes]) -> None:
        self.put(keys, values)

    def bulk_delete(self, keys: list[bytes]) -> None:
        self.delete(keys)

    def read(self, key: bytes) -> bytes | None:
        return self.map.get(key)  # type: ignore[no-any-return]

    def count(self) -> int:
        return len(self.map)

    def close(self) -> None:
        self.map = None
        self._close()


class LmdbStore:
    """py-lmdb at its best for one transaction per operation; README.md has the alternatives."""

    def __init__(self, directory: Path) -> None:
        import lmdb

        self.name = "lmdb"
        self.env = lmdb.open(
            str(directory / "lmdb"),
            subdir=False,
            map_size=MAX_BYTES,
            writemap=True,
            sync=False,
            metasync=False,
            map_async=True,
            meminit=False,
            # The default of 1 never reuses a read transaction in these loops: 20 % slower.
            max_spare_txns=4,
        )

    def get_item(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            # Ended by its last reference: cheaper than `with` (20 %) and than abort() (5 %).
            begin().get(key)
        return perf_counter_ns() - start

    get = get_item

    def get_many(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        batches = [keys[at : at + harness.BATCH] for at in range(0, len(keys), harness.BATCH)]
        start = perf_counter_ns()
        for batch in batches:
            begin().cursor().getmulti(batch)
        return perf_counter_ns() - start

    def put(self, keys: list[bytes], values: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            transaction = begin(None, None, True)
            transaction.put(key, value)
            transaction.commit()
        return perf_counter_ns() - start

    def put_many(self, keys: list[bytes], values: list[bytes]) -> int:
        begin = self.env.begin
        pairs = list(zip(keys, values, strict=True))
        start = perf_counter_ns()
        with begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs)
        return perf_counter_ns() - start

    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                begin().get(key)
            else:
                transaction = begin(None, None, True)
                transaction.put(key, value)
                transaction.commit()
        return perf_counter_ns() - start

    def delete(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            transaction = begin(None, None, True)
            transaction.delete(key)
            transaction.commit()
        return perf_counter_ns() - start

    def supports(self, call: str) -> bool:
        return hasattr(self, call)

    def bulk_put(self, keys: list[bytes], values: list[bytes]) -> None:
        with self.env.begin(write=True) as transaction:
            for key, value in zip(keys, values, strict=True):
                transaction.put(key, value)

    def bulk_delete(self, keys: list[bytes]) -> None:
        with self.env.begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key)

    def read(self, key: bytes) -> bytes | None:
        with self.env.begin() as transaction:
            return transaction.get(key)

    def count(self) -> int:
        return int(self.env.stat()["entries"])

    def close(self) -> None:
        self.env.close()


def floor_store(directory: Path, records: int, name: str = "floor") -> MappingStore:
    table = harness.load_floor().Table(
        directory / name,
        records=records,
        key_max=harness.KEY_BYTES,
        value_max=harness.VALUE_BYTES + 4,
    )
    return MappingStore(name, table, lambda: None)


def huge_floor_store(directory: Path, records: int) -> MappingStore:
    """The floor with huge pages, if the system has some."""
    store = floor_store(directory, records, "floor-2m")
    try:
        store.map.collapse()
    except OSError as error:
        print(f"the floor gets no huge pages: {error}", file=sys.stderr)
    return store


def segment_name(pid: int, store: str = "vasmem") -> str:
    """Of the segment of `vasmem_store` in that process."""
    return f"benchmark-{pid}-{store}"


def vasmem_store(name: str = "vasmem", kind: str = "hashmap", **options: Any) -> MappingStore:
    """A raw map, or B-tree, as a user gets it, unless `options` of `create` say otherwise."""
    vasmem = harness.installed_vasmem()
    path = segment_name(os.getpid(), name)
    segment = vasmem.create(path, size=START_BYTES, max_size=MAX_BYTES, **options)

    def close() -> None:
        segment.close()
        vasmem.remove(path)

    return MappingStore(name, getattr(segment, kind)("bench", raw=True), close)


def attached(name: str, directory: Path, creator: int, *, readonly: bool) -> harness.Store:
    """The store that process `creator` made with its files in `directory`."""
    if name in ("vasmem", "vasmem-btree"):
        segment = harness.installed_vasmem().attach(segment_name(creator, name), readonly=readonly)
        return MappingStore(name, segment["bench"], segment.close)
    if name == "floor":
        table = harness.load_floor().Table.attach(directory / "floor")
        return MappingStore(name, table, lambda: None)
    return LmdbStore(directory)


def core_store(core: Any, directory: Path, name: str, *, flush: bool) -> MappingStore:
    """A raw map straight from a core module: another build of it, or with flushes."""
    harness.require_release(core)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    files = [os.open(directory / (name + end), flags, 0o600) for end in (".segment", ".lock")]
    medium = {"flush": flush, "marked": False, "huge": True}
    sizes = {"size": START_BYTES, "max_size": MAX_BYTES}
    core.Segment.format(files[0], name=name, **sizes, **medium)
    segment = core.Segment(*files, name=name, readonly=False, **medium)

    def close() -> None:
        segment.close()
        for file in files:
            os.close(file)

    return MappingStore(name, core.HashMap(segment, "bench", True, True), close)


def installed_core(directory: Path, *, flush: bool) -> MappingStore:
    core = harness.installed_vasmem()._core
    return core_store(core, directory, "vasmem-flush" if flush else "vasmem-core", flush=flush)


# vasmem asks for huge pages as far as it is not told otherwise; lmdb and the floor do not.
NAMES = ("vasmem", "vasmem-4k", "vasmem-flush", "floor", "floor-2m", "lmdb")
REFERENCES = ("lmdb", "floor", "floor-2m")


class Stores:
    """The stores of a run and the directory of their files; a context manager that removes both."""

    def __init__(self, names: Sequence[str], records: int, parent: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=parent))
        self.open: list[harness.Store] = []
        makers: dict[str, Callable[[], harness.Store]] = {
            "vasmem": vasmem_store,
            "vasmem-btree": lambda: vasmem_store("vasmem-btree", "btree"),
            "vasmem-4k": lambda: vasmem_store("vasmem-4k", huge_pages="never"),
            "vasmem-flush": lambda: installed_core(self.directory, flush=True),
            "floor": lambda: floor_store(self.directory, records),
            "floor-2m": lambda: huge_floor_store(self.directory, records),
            "lmdb": lambda: LmdbStore(self.directory),
        }
        try:
            for name in names:
                self.open.append(makers[name]())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for store in self.open:
            store.close()
        self.open.clear()
        shutil.rmtree(self.directory)

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
