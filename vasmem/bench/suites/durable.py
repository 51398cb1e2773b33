"""`durable`: what it costs to commit so that a power failure cannot take it back."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from vasmem.bench.contestants import CONTESTANTS, DURABLE
from vasmem.bench.result import Row, rows
from vasmem.bench.run import Run, collect
from vasmem.bench.workload import Workload

BATCHES = (1, 10, 100, 1000)
# Commits of one size in one round: as many as fit into the time, and at least these.
COMMITS_MIN, COMMITS_MAX = 3, 50
# Of ours: in a file on the disk, by sync(); and on emulated persistent memory, which is no disk.
OURS = ("vasmem-file", "vasmem-dax")


def commits(run: Run, store: Any, workload: Workload, batch: int) -> float:
    """us a commit of so many random records."""
    end = time.perf_counter_ns() + run.options.box_seconds * 4e9
    total, count = 0, 0
    while count < COMMITS_MIN or (count < COMMITS_MAX and time.perf_counter_ns() < end):
        drawn = workload.random.integers(0, workload.records, batch).tolist()
        keys = list(dict.fromkeys(workload.keys(drawn)))
        values = workload.values(count, len(keys))
        start = time.perf_counter_ns()
        store.commit_durably(keys, values)
        total += time.perf_counter_ns() - start
        count += 1
    return total / count / 1e3


def run(run: Run) -> Iterable[Row]:
    """us a commit, of one to a thousand records, in files on the disk that the options name."""
    ours = [CONTESTANTS[name] for name in OURS]
    chosen = run.chosen([*ours, *DURABLE.values()])
    steps = (run.options.rounds + 1) * len(BATCHES)
    with (
        run.opened(chosen, disk=True) as opened,
        run.watched("durable", steps) as step,
    ):
        workload = Workload(min(run.options.records, 100_000), run.options.seed)

        def one() -> dict[str, dict[str, float]]:
            taken: dict[str, dict[str, float]] = {}
            for batch in BATCHES:
                step(f"{batch} records a commit")
                taken[f"{batch} a commit"] = {
                    contestant.name: commits(run, store, workload, batch)
                    for contestant, store in run.shuffle.sample(opened, len(opened))
                }
            return taken

        return rows("durable", "us", collect(run.rounds("durable", one)))
