"""`recover`: a writer is killed; how long until another process has read and written."""

from __future__ import annotations

import time
from collections.abc import Iterable

from vasmem.bench.children import started
from vasmem.bench.contestants import CONTESTANTS, Contestant
from vasmem.bench.lanes import Lane
from vasmem.bench.result import Row
from vasmem.bench.run import Run

RECORDS_MAX = 100_000
RUNS_SECONDS = 0.05
# Those that a killed process may leave locked or torn have nothing to recover.
UNABLE = {"floor", "floor-locked", "ultradict"}


def times(run: Run, contestant: Contestant) -> list[list[float]]:
    """us until the survivor has read and until it has written, kill by kill."""
    records = min(RECORDS_MAX, run.records_of(contestant))
    taken = []
    with run.site(records) as site:
        store = contestant.make(site)
        try:
            Lane(run, contestant, store, records).load()
            for _ in range(run.options.kills):
                with started("survive", contestant.name, site) as survivor:
                    survivor.hear()
                    with started("write", contestant.name, site) as child:
                        child.hear()
                        time.sleep(RUNS_SECONDS * (0.5 + run.shuffle.random()))
                    survivor.tell("")
                    taken.append(survivor.hear())
        finally:
            store.close()
    return taken


def run(run: Run) -> Iterable[Row]:
    """us from a kill -9 of a writer until a process that attaches then has read, and written."""
    able = (c for c in CONTESTANTS.values() if c.attach is not None and c.name not in UNABLE)
    chosen = run.chosen(able)
    found = []
    with run.watched("recover", len(chosen)) as step:
        for contestant in chosen:
            step(contestant.name)
            taken = times(run, contestant)
            for index, operation in enumerate(("first read", "first write")):
                figures = [one[index] for one in taken]
                found.append(Row("recover", operation, contestant.name, "us", figures))
    return found
