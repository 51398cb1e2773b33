"""YCSB workloads A, B and C: zipfian reads and updates, one operation a call, in paired rounds.

`python -m benchmarks.ycsb` loads every store with the same records of 16 + 100 bytes and lets each
do the same stream of operations in every round, in an order drawn anew (`paired.py` says why). The
stream is drawn before: keys by `zipfian.py`, and at random, in the workload's share, None for a
read or the new value for an update, which writes the whole value without reading it. The loop is
the same for all stores: it takes a key and a value and looks whether the value is None. What that
costs alone is the row "the loop alone"; it is in all times alike.

py-lmdb reads and writes as in `stores.py`: a transaction of its own for each operation, since any
other process may have written in between. Its read transactions are kept and renewed inside
(`max_spare_txns`), which is what py-lmdb has instead of reset() and renew().
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

from rich.console import Console

from vasmem.bench import machine, zipfian
from vasmem.bench import workload as workloads
from vasmem.bench.workload import CHUNK, Store, Workload

from . import harness, paired, stores
from .paired import say

STORES = ("vasmem", "vasmem-4k", "floor", "floor-2m", "lmdb")
LOOP = "the loop alone"


class Mix(NamedTuple):
    """A workload of YCSB: its share of reads, and how many times as fast as lmdb is the bar."""

    reads: float
    bar: float


MIXES = {"A": Mix(0.5, 5.5), "B": Mix(0.95, 3.5), "C": Mix(1.0, 3.0)}


class Stream(NamedTuple):
    """Operations that all stores do: the records, and which of them are updates."""

    chunks: list[workloads.Chunk]
    updates: list[list[bool]]


def stream(workload: Workload, mix: Mix, operations: int) -> Stream:
    chunks = workload.chunks(zipfian.draw(workload.random, workload.records, operations))
    drawn = [workload.random.random(len(chunk.indices)) >= mix.reads for chunk in chunks]
    return Stream(chunks, [updates.tolist() for updates in drawn])


def nothing(keys: list[bytes], values: list[bytes | None]) -> int:
    """The loop of `Store.mixed` without a store."""
    start = perf_counter_ns()
    for _key, value in zip(keys, values, strict=True):
        if value is None:
            pass
    return perf_counter_ns() - start


def row(call: Any, workload: Workload, operations: Stream) -> float:
    """Lets a store do the stream, with fresh keys and values; ns per operation."""
    total = 0
    for chunk, updates in zip(*operations, strict=True):
        values = workload.values(chunk.value_start, len(chunk.indices))
        chosen = [value if update else None for value, update in zip(values, updates, strict=True)]
        total += call(workload.keys(chunk.indices), chosen)
    return total / sum(len(chunk.indices) for chunk in operations.chunks)


def one_round(
    opened: list[Store], workload: Workload, shuffle: random.Random, operations: int
) -> dict[str, dict[str, float]]:
    """ns per operation by workload and store."""
    taken: dict[str, dict[str, float]] = {}
    for name, mix in MIXES.items():
        operations_here = stream(workload, mix, operations)
        with workloads.no_collection():
            taken[name] = {LOOP: row(nothing, workload, operations_here)}
            for store in shuffle.sample(opened, len(opened)):
                taken[name][store.name] = row(store.mixed, workload, operations_here)
    return taken


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    directory = Path(arguments.directory)
    facts = machine.facts(directory)
    workload = Workload(arguments.records, arguments.seed)
    shuffle = random.Random(arguments.seed)
    rounds: list[dict[str, dict[str, float]]] = []
    others: list[float] = []
    with stores.Stores(arguments.stores, arguments.records, directory) as opened:
        for store in opened.open:
            paired.load(store, Workload(arguments.records, arguments.seed))
            say(f"loaded {store.name}")
        load_of_others = machine.OtherLoad()
        for number in range(arguments.rounds):
            load_of_others.look()
            rounds.append(one_round(opened.open, workload, shuffle, arguments.operations))
            others.append(load_of_others.look())
            say(f"round {number + 1} of {arguments.rounds}; others used {others[-1]:.2f} cores")
        sample = workload.samples(1, min(arguments.records, 10_000))[0]
        same = paired.compare_contents(opened.open, workload, sample)
    return {
        "machine": facts,
        "arguments": vars(arguments),
        "rounds ns": rounds,
        "cores used by others": others,
        "records compared at the end": same,
    }


def report(result: dict[str, Any], console: Console) -> dict[str, Any]:
    """Prints times and ratios; gives the ratios back for the file."""
    times = paired.collect(result["rounds ns"])
    names = result["arguments"]["stores"]
    title = "YCSB " + ", ".join(f"{name} {mix.reads:.0%} reads" for name, mix in MIXES.items())
    paired.show_times(times, [*names, LOOP], title, console)
    bars = {name: paired.Bar(mix.bar) for name, mix in MIXES.items()}
    summary = {
        subject: paired.compare(times, subject, bars, console)
        for subject in names
        if subject not in stores.REFERENCES
    }
    machine.warn_of_others(result["cores used by others"], console)
    return summary


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.ycsb", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--operations", type=int, default=100 * CHUNK, help="per workload")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", nargs="+", choices=stores.NAMES, default=list(STORES))
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the stores' files")
    return parser.parse_args(words)


def main() -> None:
    result = run(parse())
    result["ratios"] = report(result, Console(width=120))
    print(harness.write_result("ycsb", result))


if __name__ == "__main__":
    main()
