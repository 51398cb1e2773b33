"""What every benchmark shares: the workload, the timed row, native modules, results."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

HERE = Path(__file__).resolve().parent
# Where vasmem keeps segments of backend shm.
SEGMENTS = Path(os.environ.get("VASMEM_SHM_DIR", "/dev/shm/vasmem"))
RESULTS = Path(os.environ.get("VASMEM_BENCHMARK_RESULTS", HERE / "results"))
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


def load_native(name: str, path: Path) -> ModuleType:
    """Imports an extension module from a path, whatever its file is called."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, str(path), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def build(*arguments: str) -> None:
    """Runs cargo, for this interpreter."""
    # Past the links, whose spelling differs with how Python was started: no needless rebuild.
    interpreter = str(Path(sys.executable).resolve())
    # PYO3_BUILD_EXTENSION_MODULE is what setuptools-rust says, too.
    ours = {"PYO3_PYTHON": interpreter, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    subprocess.run(["cargo", *arguments], check=True, env={**os.environ, **ours})


def load_floor() -> Any:
    """Builds the floor for this interpreter if need be, and imports it."""
    target = HERE / "floor" / "target" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    arguments = ["build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
    build(*arguments, "--manifest-path", str(HERE / "floor" / "Cargo.toml"))
    return require_release(load_native("vasmem_floor", target / "release" / "libvasmem_floor.so"))


def build_core(path: Path, *features: str) -> None:
    """Builds the extension of this checkout as its wheel does, with these features, to `path`."""
    target = HERE.parent / "target" / "benchmarks"
    # One crate type and no other: with two, cargo leaves link-time optimisation out.
    arguments = ["rustc", "--quiet", "--release", "--locked", "--lib", "--crate-type", "cdylib"]
    arguments += ["--target-dir", str(target), "--features", ",".join(features)]
    build(*arguments, "--manifest-path", str(HERE.parent / "core" / "py" / "Cargo.toml"))
    shutil.copy(target / "release" / "lib_core.so", path)


def installed_vasmem() -> Any:
    """The installed package, in release mode; not the source folder, which has no extension."""
    path = sys.path
    sys.path = [entry for entry in path if Path(entry).resolve() != HERE.parent]
    try:
        vasmem = importlib.import_module("vasmem")
    finally:
        sys.path = path
    require_release(importlib.import_module("vasmem._core"))
    return vasmem


def require_release(module: Any) -> Any:
    """Refuses what was built without optimisation: its figures would mean nothing."""
    if module.build_profile != "release":
        profile = module.build_profile
        raise SystemExit(f"{module.__name__} is a {profile} build; benchmarks need a release build")
    return module


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes NAME-TIME.json to RESULTS."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def newest_result(name: str) -> dict[str, Any] | None:
    """What was written last by that name."""
    paths = sorted(RESULTS.glob(f"{name}[-.]*json"))
    return json.loads(paths[-1].read_text()) if paths else None
