"""`attach`: what the first value of a store costs a process, by the size of the store."""

from __future__ import annotations

from collections.abc import Iterable

from vasmem.bench.children import started
from vasmem.bench.contestants import CONTESTANTS, Contestant
from vasmem.bench.lanes import Lane
from vasmem.bench.result import Row
from vasmem.bench.run import Run


def times(run: Run, contestant: Contestant, records: int) -> list[list[float]]:
    """us of the first and the second time, in each of some processes."""
    with run.site(records) as site:
        store = contestant.make(site)
        try:
            lane = Lane(run, contestant, store, records)
            lane.load()
            taken = []
            for _ in range(run.options.rounds):
                with started("attach", contestant.name, site) as child:
                    taken.append(child.hear())
        finally:
            store.close()
    return taken


def run(run: Run) -> Iterable[Row]:
    """us until the first value is read: cold in a new process, warm in one that had it open."""
    sizes = [10**power for power in (3, 4, 5, 6) if 10**power <= run.options.records]
    chosen = run.chosen(c for c in CONTESTANTS.values() if c.attach is not None)
    found = []
    with run.watched("attach", len(sizes) * len(chosen)) as step:
        for records in sizes:
            for contestant in chosen:
                step(f"{contestant.name}, {records:,} records")
                if records > (contestant.records_max or records):
                    continue
                taken = times(run, contestant, records)
                for index, how in enumerate(("cold", "warm")):
                    figures = [one[index] for one in taken]
                    operation = f"{how}, {records:,} records"
                    found.append(Row("attach", operation, contestant.name, "us", figures, records))
    return found
