"""The stores behind one face, with their timed loops: nothing stands between loop and store."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import vasmem
from vasmem.bench import _floor
from vasmem.bench import workload as workloads
from vasmem.bench.contestants.lmdb_store import LmdbStore
from vasmem.bench.contestants.mapping import MappingStore
from vasmem.bench.contestants.ours import MAX_BYTES, START_BYTES

from . import harness


def floor_store(directory: Path, records: int, name: str = "floor") -> MappingStore:
    table = _floor.Table(
        directory / name,
        records=records,
        key_max=workloads.KEY_BYTES,
        value_max=workloads.VALUE_BYTES + 4,
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
    path = segment_name(os.getpid(), name)
    segment = vasmem.create(path, size=START_BYTES, max_size=MAX_BYTES, **options)

    def close() -> None:
        segment.close()
        vasmem.remove(path)

    return MappingStore(name, getattr(segment, kind)("bench", raw=True), close)


def attached(name: str, directory: Path, creator: int, *, readonly: bool) -> workloads.Store:
    """The store that process `creator` made with its files in `directory`."""
    if name in ("vasmem", "vasmem-btree"):
        segment = vasmem.attach(segment_name(creator, name), readonly=readonly)
        return MappingStore(name, segment["bench"], segment.close)
    if name == "floor":
        table = _floor.Table.attach(directory / "floor")
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
    core = vasmem._core
    return core_store(core, directory, "vasmem-flush" if flush else "vasmem-core", flush=flush)


# vasmem asks for huge pages as far as it is not told otherwise; lmdb and the floor do not.
NAMES = ("vasmem", "vasmem-4k", "vasmem-flush", "floor", "floor-2m", "lmdb")
REFERENCES = ("lmdb", "floor", "floor-2m")


class Stores:
    """The stores of a run and the directory of their files; a context manager that removes both."""

    def __init__(self, names: Sequence[str], records: int, parent: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=parent))
        self.open: list[workloads.Store] = []
        makers: dict[str, Callable[[], workloads.Store]] = {
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
