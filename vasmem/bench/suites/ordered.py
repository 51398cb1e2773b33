"""`ordered`: sorted stores, and scans of them."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter_ns
from typing import Any

from vasmem.bench.contestants import CONTESTANTS
from vasmem.bench.lanes import Lane, one_round
from vasmem.bench.result import Row, rows
from vasmem.bench.run import Run, collect, pinned
from vasmem.bench.workload import OPERATIONS, no_collection

NAMES = ("get", "put in place", "insert", "delete")
SCANS = {"scan of 10": 10, "scan of 100": 100, "scan of 1000": 1000}
SCANS_EACH = 1000


def scan_row(lane: Lane, name: str, length: int) -> float:
    """ns for each item of scans from random keys."""
    store: Any = lane.store
    count = max(20, min(SCANS_EACH, lane.count(name) * 1000 // length))
    indices = lane.workload.random.integers(0, lane.workload.records, count).tolist()
    keys = lane.workload.keys(indices)
    scan = store.scan_one
    start = perf_counter_ns()
    for key in keys:
        scan(key, length)
    ns = (perf_counter_ns() - start) / (count * length)
    lane.took(name, ns)
    return ns


def run(run: Run) -> Iterable[Row]:
    """ns an operation, of scans ns an item."""
    chosen = run.chosen(c for c in CONTESTANTS.values() if c.ordered)
    operations = {name: OPERATIONS[name] for name in NAMES}
    steps = len(chosen) + (run.options.rounds + 1) * (len(NAMES) + len(SCANS))
    with pinned(), run.opened(chosen) as opened, run.watched("ordered", steps) as step:
        lanes = [Lane(run, contestant, store) for contestant, store in opened]
        loaded = {}
        for lane in lanes:
            step(f"loading {lane.name}")
            loaded[lane.name] = [lane.load()]

        def one() -> dict[str, dict[str, float]]:
            taken = one_round(run, lanes, operations, step)
            for name, length in SCANS.items():
                with no_collection():
                    taken[name] = {
                        lane.name: scan_row(lane, name, length)
                        for lane in run.shuffle.sample(lanes, len(lanes))
                    }
                step(name)
            return taken

        taken = {"load": loaded, **collect(run.rounds("ordered", one))}
        for lane in lanes:
            lane.check()
        return rows("ordered", "ns", taken, {lane.name: lane.workload.records for lane in lanes})
