"""`contend`: one to eight processes that read and update the same records at once."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from vasmem.bench.children import Child
from vasmem.bench.contestants import CONTESTANTS, Contestant, Site
from vasmem.bench.lanes import Lane
from vasmem.bench.result import Row
from vasmem.bench.run import Run

RECORDS_MAX = 100_000
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
# From the word until it begins, so that all have heard it.
AHEAD_NS = 20_000_000


def window(run: Run, name: str, site: Site, processes: int) -> tuple[float, list[float]]:
    """Operations a second of all together, and percentiles of single ones in ns."""
    words = (str(run.options.window_seconds),)
    children = [Child("contend", name, site, str(n), *words) for n in range(processes)]
    try:
        for child in children:
            child.hear()
        begin = time.monotonic_ns() + AHEAD_NS
        for child in children:
            child.tell(str(begin))
        done = sum(child.hear() for child in children)
    finally:
        for child in children:
            child.end()
    took = np.concatenate(
        [np.load(site.directory / f"took-{name}-{n}.npy") for n in range(processes)]
    )
    return done / run.options.window_seconds, np.percentile(took, [*PERCENTILES.values()]).tolist()


def of(run: Run, contestant: Contestant, numbers: list[int]) -> dict[str, list[float]]:
    """Figures by operation."""
    records = min(RECORDS_MAX, run.records_of(contestant))
    found: dict[str, list[float]] = {}
    with run.site(records) as site:
        store = contestant.make(site)
        try:
            Lane(run, contestant, store, records).load()
            for _ in range(run.options.rounds):
                for processes in numbers:
                    done, percentiles = window(run, contestant.name, site, processes)
                    found.setdefault(f"{processes} processes", []).append(done)
                    for name, ns in zip(PERCENTILES, percentiles, strict=True):
                        found.setdefault(f"{processes} processes, {name}", []).append(ns / 1e3)
        finally:
            store.close()
    return found


def run(run: Run) -> Iterable[Row]:
    """Operations a second, half of them updates, keys zipfian; and how long single ones take."""
    most = run.options.processes_max
    numbers = [n for n in (1, 2, 4, 8) if n <= most]
    # The floor alone is wrong as soon as two write.
    able = (c for c in CONTESTANTS.values() if c.attach is not None and c.name != "floor")
    chosen = run.chosen(able)
    found = []
    with run.watched("contend", len(chosen)) as step:
        for contestant in chosen:
            step(contestant.name)
            for operation, figures in of(run, contestant, numbers).items():
                many = "," not in operation
                unit = "operations/s" if many else "us"
                found.append(Row("contend", operation, contestant.name, unit, figures, more=many))
    return found
