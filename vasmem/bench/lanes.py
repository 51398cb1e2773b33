"""Stores side by side: each with its records, loaded, and rounds of operations over all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vasmem.bench import workload as workloads
from vasmem.bench.contestants import Contestant
from vasmem.bench.run import Run
from vasmem.bench.workload import CHUNK, Chunk, Operation, Workload

CHUNKS_MAX = 40
# Records that are read at the end.
COMPARED = 1000


class Lane:
    """One contestant's store, the records in it, and what its operations took last."""

    def __init__(
        self, run: Run, contestant: Contestant, store: Any, records: int | None = None
    ) -> None:
        self.name = contestant.name
        self.contestant = contestant
        self.store = store
        self.workload = Workload(records or run.records_of(contestant), run.options.seed)
        self.box_ns = run.options.box_seconds * 1e9
        self._cost_ns: dict[str, float] = {}

    def load(self) -> float:
        """Stores all records in batches; ns a record."""
        workload = self.workload
        chunks = workload.chunks(workload.random.permutation(workload.records))
        start = time.perf_counter_ns()
        workloads.fill(self.store, workload, chunks)
        taken = (time.perf_counter_ns() - start) / workload.records
        if self.store.count() != workload.records:
            raise RuntimeError(f"{self.name} holds {self.store.count()} of {workload.records}")
        return taken

    def count(self, operation: str) -> int:
        """How many chunks of an operation fill its time."""
        most = min(CHUNKS_MAX, self.workload.records // CHUNK // 2)
        cost = self._cost_ns.get(operation)
        return 1 if cost is None else max(1, min(most, int(self.box_ns / (cost * CHUNK))))

    def sample(self, operation: str) -> list[Chunk]:
        workload = self.workload
        drawn = workload.random.integers(0, workload.records, self.count(operation) * CHUNK * 2)
        # Each record at most once, since some operations take it away.
        unique = list(dict.fromkeys(drawn.tolist()))[: self.count(operation) * CHUNK]
        return workload.chunks(workloads.indices(unique))

    def took(self, operation: str, ns: float) -> None:
        self._cost_ns[operation] = ns

    def check(self) -> None:
        """Raises RuntimeError unless what is stored now is read back, and nothing else is there."""
        chunks = self.workload.chunks(workloads.indices(range(min(COMPARED, CHUNK))))
        workloads.fill(self.store, self.workload, chunks)
        for chunk in chunks:
            values = self.workload.values(chunk.value_start, len(chunk.indices))
            found = [self.store.read(key) for key in self.workload.keys(chunk.indices)]
            unknown = self.workload.keys(chunk.indices, unknown=True)
            if found != values or any(self.store.read(key) is not None for key in unknown):
                raise RuntimeError(f"{self.name} does not give back what it was given")
        if self.store.count() != self.workload.records:
            raise RuntimeError(f"{self.name} has lost or invented records")


def one_round(
    run: Run, lanes: list[Lane], operations: dict[str, Operation], step: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Every operation on every store: ns by operation and contestant."""
    taken: dict[str, dict[str, float]] = {}
    for name, operation in operations.items():
        able = [lane for lane in lanes if lane.store.supports(operation.call)]
        samples = {lane.name: lane.sample(name) for lane in able}
        for lane in able:
            workloads.prepare(lane.store, lane.workload, operation, samples[lane.name])
        taken[name] = {}
        with workloads.no_collection():
            for lane in run.shuffle.sample(able, len(able)):
                ns = workloads.row(lane.store, lane.workload, operation, samples[lane.name])
                taken[name][lane.name] = ns
                lane.took(name, ns)
        for lane in able:
            workloads.restore(lane.store, lane.workload, operation, samples[lane.name])
        step(name)
    return taken
