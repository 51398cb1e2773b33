"""`kv`: one key a call, batches, and YCSB, on hash maps and all other stores of keys."""

from __future__ import annotations

from collections.abc import Iterable

from vasmem.bench import ycsb
from vasmem.bench.contestants import CONTESTANTS
from vasmem.bench.lanes import Lane, one_round
from vasmem.bench.result import Row, rows
from vasmem.bench.run import Run, collect, pinned
from vasmem.bench.workload import OPERATIONS, no_collection

NAMES = ("get", "miss", "get_many", "put in place", "put_many in place", "delete", "insert")


def run(run: Run) -> Iterable[Row]:
    """ns an operation, on as many random records as the options say."""
    chosen = run.chosen(CONTESTANTS.values())
    operations = {name: OPERATIONS[name] for name in NAMES}
    steps = len(chosen) + (run.options.rounds + 1) * (len(NAMES) + len(ycsb.MIXES))
    with pinned(), run.opened(chosen) as opened, run.watched("kv", steps) as step:
        lanes = [Lane(run, contestant, store) for contestant, store in opened]
        loaded = {}
        for lane in lanes:
            step(f"loading {lane.name}")
            loaded[lane.name] = [lane.load()]

        def one() -> dict[str, dict[str, float]]:
            taken = one_round(run, lanes, operations, step)
            for name, mix in ycsb.MIXES.items():
                able = [lane for lane in lanes if lane.store.supports(mix.call)]
                with no_collection():
                    taken[name] = {
                        lane.name: ycsb.row(lane, name)
                        for lane in run.shuffle.sample(able, len(able))
                    }
                step(name)
            return taken

        taken = {"load": loaded, **collect(run.rounds("kv", one))}
        for lane in lanes:
            lane.check()
        return rows("kv", "ns", taken, {lane.name: lane.workload.records for lane in lanes})
