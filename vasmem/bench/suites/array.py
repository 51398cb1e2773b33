"""`array`: numbers in shared memory, seen by numpy."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable
from multiprocessing import shared_memory
from typing import Any, NamedTuple

import numpy as np

from vasmem import opening
from vasmem.bench.contestants import Contestant, Site
from vasmem.bench.result import Row, rows
from vasmem.bench.run import Run, collect, pinned

# 80 MB at the default number of records.
ITEMS_A_RECORD = 10
CALLS = 1000


class Made(NamedTuple):
    """An array, another look at it by its name, and its end. `update` is all or nothing."""

    view: Any
    again: Callable[[], Any]
    close: Callable[[], None]
    update: Callable[[int, float], None] | None = None


def ours(site: Site, backend: str) -> Made:
    name = f"bench-{site.directory.name}"
    url = f"file://{site.directory / 'array'}" if backend == "file" else f"shm://{name}"
    segment = opening.create(url, size="1M", max_size="8G")
    array = segment.array("array", site.records, "f8")

    def again() -> float:
        with opening.attach(url) as other:
            return float(other.array("array").view[-1])

    def close() -> None:
        segment.close()
        opening.remove(url)

    return Made(array.view, again, close, array.update)


def memmap(site: Site) -> Made:
    path = site.directory / "memmap"
    view = np.memmap(path, "f8", "w+", shape=(site.records,))
    return Made(view, lambda: float(np.memmap(path, "f8", "r+")[-1]), lambda: None)


def raw(site: Site) -> Made:
    path = site.directory / "map-shared"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(site.records * 8)
        memory = mmap.mmap(file.fileno(), 0)

    def again() -> float:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as other:
            return float(np.frombuffer(other, "f8")[-1].copy())

    return Made(np.frombuffer(memory, "f8"), again, lambda: None)


def stdlib(site: Site) -> Made:
    made: Any = shared_memory.SharedMemory(create=True, size=site.records * 8)

    def again() -> float:
        other: Any = shared_memory.SharedMemory(made.name)
        last = float(np.frombuffer(other.buf, "f8")[-1].copy())
        other.close()
        return last

    view = np.frombuffer(made.buf, "f8", site.records)

    def close() -> None:
        made.unlink()

    return Made(view, again, close)


def private(site: Site) -> Made:
    return Made(np.zeros(site.records), lambda: 0.0, lambda: None)


KINDS: dict[str, tuple[str, Callable[[Site], Made]]] = {
    "vasmem": ("Array on shared memory", lambda site: ours(site, "shm")),
    "vasmem-file": ("Array in a file", lambda site: ours(site, "file")),
    "numpy-memmap": ("numpy.memmap of a file on the same tmpfs", memmap),
    "map-shared": ("mmap MAP_SHARED and numpy.frombuffer", raw),
    "shared_memory": ("multiprocessing.shared_memory and numpy.frombuffer", stdlib),
    "numpy": ("a private array", private),
}


def us(call: Callable[[], object], calls: int = 1) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / 1e3 / calls


def calls(made: Made, items: int) -> dict[str, float]:
    """us by operation, of an array that is there."""
    view, update = made.view, made.update
    # The pages come with the first one; the later ones have them.
    found = {"first fill": us(lambda: view.fill(1))}
    found["fill"] = us(lambda: view.fill(2))
    found["sum"] = us(view.sum)
    places = np.random.default_rng(1).integers(0, items, CALLS).tolist()
    found["gather of 1000"] = us(lambda: view[places])
    found["one item read"] = us(lambda: view[7], CALLS)
    found["one item written"] = us(lambda: view.__setitem__(7, 1.0), CALLS)
    if update is not None:
        found["one item written, all or nothing"] = us(lambda: update(7, 1.0), CALLS)
    return found


def of(name: str, site: Site) -> dict[str, float]:
    """us by operation."""
    start = time.perf_counter_ns()
    made = KINDS[name][1](site)
    found = {"create": (time.perf_counter_ns() - start) / 1e3, **calls(made, site.records)}
    if name != "numpy":
        found["attach and read one"] = us(made.again)
    close = made.close
    # Nobody may look into the memory any more when it goes.
    del made
    close()
    return found


def run(run: Run) -> Iterable[Row]:
    """us a call; sums and fills are of the whole array, ten numbers for each record."""
    # Only their names are used: an array is no store of keys.
    unmade: Any = None
    names = run.chosen(
        Contestant(name, settings, "as the store", unmade) for name, (settings, _) in KINDS.items()
    )
    items = run.options.records * ITEMS_A_RECORD
    with pinned(), run.watched("array", len(names) * (run.options.rounds + 1)) as step:

        def one() -> dict[str, dict[str, float]]:
            taken: dict[str, dict[str, float]] = {}
            for contestant in run.shuffle.sample(names, len(names)):
                step(contestant.name)
                with run.site(items) as site:
                    for operation, figure in of(contestant.name, site).items():
                        taken.setdefault(operation, {})[contestant.name] = figure
            return taken

        return rows("array", "us", collect(run.rounds("array", one)))
