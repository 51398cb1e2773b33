"""Paired rounds: every store does every operation in every round, in one process.

`python -m benchmarks.paired` prints the ratios beside the bars and writes them as JSON. Within a
round each operation goes through all stores before the next one begins, in an order drawn anew,
so a ratio compares neighbours in time; its median over the rounds is the figure.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import OPERATIONS, Chunk, Spread, Store, Workload

from . import harness, stores

Times = dict[str, dict[str, list[float]]]


class Bar(NamedTuple):
    """At least so many times as fast as lmdb, at most so many times the floor's time."""

    lmdb: float | None = None
    floor: float | None = None


BARS = {
    "get": Bar(3, 1.5),
    "miss": Bar(5),
    "get_many": Bar(9, 1.3),
    "put in place": Bar(9, 2.0),
    "put new record": Bar(6, 2.7),
    "put_many in place": Bar(10),
    "put_many new record": Bar(5),
    "delete": Bar(8),
    "insert": Bar(),
}
# Put with flushes and fences in units of put without.
FLUSH_BAR = 2.3
# Escaped for rich.
SPREAD = r"median \[lowest..highest round]"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load(store: Store, workload: Workload) -> float:
    """Fills a store and churns its heap; ns per record of the filling (lmdb: 1000 a commit)."""
    whole = workload.chunks(workload.random.permutation(workload.records))
    start = time.perf_counter_ns()
    workloads.fill(store, workload, whole)
    taken = (time.perf_counter_ns() - start) / workload.records
    half = workload.random.permutation(workload.records)[: workload.records // 2]
    workloads.clear(store, workload, workload.chunks(half))
    workloads.fill(store, workload, workload.chunks(workload.random.permutation(half)))
    if store.count() != workload.records:
        raise SystemExit(f"{store.name} holds {store.count()} of {workload.records} records")
    return taken


def one_round(
    opened: list[Store], workload: Workload, shuffle: random.Random, operations: int
) -> dict[str, dict[str, float]]:
    """One row of every operation on every store: ns per operation by operation and store."""
    samples = dict(zip(OPERATIONS, workload.samples(len(OPERATIONS), operations), strict=True))
    for name, operation in OPERATIONS.items():
        for store in opened:
            workloads.prepare(store, workload, operation, samples[name])
    taken: dict[str, dict[str, float]] = {}
    for name, operation in OPERATIONS.items():
        order = [store for store in opened if store.supports(operation.call)]
        shuffle.shuffle(order)
        if operation.call == "put_many":  # all stores must end with the same values
            for store in opened:
                if store not in order:
                    workloads.fill(store, workload, samples[name])
        with workloads.no_collection():
            taken[name] = {
                store.name: workloads.row(store, workload, operation, samples[name])
                for store in order
            }
    for name, operation in OPERATIONS.items():
        for store in opened:
            workloads.restore(store, workload, operation, samples[name])
    return taken


def compare_contents(opened: list[Store], workload: Workload, chunks: list[Chunk]) -> int:
    """Raises unless all stores hold the same values; the number of records looked at."""
    seen = 0
    for chunk in chunks:
        for key in workload.keys(chunk.indices):
            values = {store.name: store.read(key) for store in opened}
            if None in values.values() or len(set(values.values())) != 1:
                raise SystemExit(f"the stores disagree about {key.hex()}: {values}")
            seen += 1
        for key in workload.keys(chunk.indices, unknown=True):
            if any(store.read(key) is not None for store in opened):
                raise SystemExit(f"a store found {key.hex()}, which was never stored")
    return seen


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    directory = Path(arguments.directory)
    facts = machine.facts(directory)
    workload = Workload(arguments.records, arguments.seed)
    shuffle = random.Random(arguments.seed)
    loading: dict[str, float] = {}
    rounds: list[dict[str, dict[str, float]]] = []
    others: list[float] = []
    with stores.Stores(arguments.stores, arguments.records, directory) as opened:
        for store in opened.open:
            loading[store.name] = load(store, Workload(arguments.records, arguments.seed))
            say(f"loaded {store.name}: {loading[store.name]:.0f} ns a record")
        load_of_others = machine.OtherLoad()
        for number in range(arguments.rounds):
            load_of_others.look()
            rounds.append(one_round(opened.open, workload, shuffle, arguments.operations))
            others.append(load_of_others.look())
            say(f"round {number + 1} of {arguments.rounds}; others used {others[-1]:.2f} cores")
        sample = workload.samples(1, min(arguments.records, 10_000))[0]
        same = compare_contents(opened.open, workload, sample)
    return {
        "machine": facts,
        "arguments": vars(arguments),
        "load ns": loading,
        "rounds ns": rounds,
        "cores used by others": others,
        "records compared at the end": same,
    }


def collect(rounds: list[dict[str, dict[str, float]]]) -> Times:
    """By operation and store, the figures of all rounds."""
    times: Times = {}
    for one in rounds:
        for operation, row in one.items():
            for store, taken in row.items():
                times.setdefault(operation, {}).setdefault(store, []).append(taken)
    return times


def ratios(above: list[float], below: list[float]) -> Spread:
    """The quotients of paired rounds."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def verdict(spread: Spread | None, bar: float | None, *, least: bool, digits: int = 2) -> str:
    """The figure beside its bar, and whether the median reaches it."""
    if spread is None:
        return ""
    if bar is None:
        return spread.text(digits)
    reached = spread.median >= bar if least else spread.median <= bar
    sign, colour = (">=" if least else "<="), ("green" if reached else "red")
    word = "reached" if reached else "missed"
    return f"{spread.text(digits)}  [{colour}]{sign} {bar:g} {word}[/{colour}]"


def show_times(times: Times, names: list[str], title: str, console: Console) -> None:
    table = Table(title=f"{title}, ns per operation: {SPREAD}")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for operation, row in times.items():
        cells = [Spread.of(row[name]).text(0) if name in row else "" for name in names]
        table.add_row(operation, *cells)
    console.print(table)


def compare(
    times: Times, subject: str, bars: dict[str, Bar], console: Console
) -> dict[str, dict[str, Spread | None]]:
    """Prints how a store stands to lmdb and the floors; the ratios by row and other store."""
    summary: dict[str, dict[str, Spread | None]] = {}
    table = Table(title=f"{subject}: ratios of paired rounds: {SPREAD}")
    for column in ("", "times as fast as lmdb", "time in floors", "in floors of 2 MiB pages"):
        table.add_column(column)
    for name, row in times.items():
        if subject not in row:
            continue
        bar = bars.get(name, Bar())
        fast = ratios(row["lmdb"], row[subject]) if "lmdb" in row else None
        floor, huge = (
            ratios(row[subject], row[other]) if other in row else None
            for other in ("floor", "floor-2m")
        )
        summary[name] = {"lmdb": fast, "floor": floor, "floor-2m": huge}
        table.add_row(
            name,
            verdict(fast, bar.lmdb, least=True),
            verdict(floor, bar.floor, least=False),
            verdict(huge, None, least=False),
        )
    console.print(table)
    return summary


def report(result: dict[str, Any], console: Console) -> dict[str, Any]:
    """Prints times and ratios; gives the ratios back for the file."""
    times = collect(result["rounds ns"])
    names = result["arguments"]["stores"]
    show_times(times, names, "one key a call", console)
    summary: dict[str, Any] = {}
    for subject in [name for name in names if name not in stores.REFERENCES] or ["floor"]:
        # With flushes there are no such bars.
        bars = BARS if subject in ("vasmem", "vasmem-4k") else {}
        summary[subject] = compare(times, subject, bars, console)
    if "vasmem" in names and "vasmem-flush" in names:
        for operation in ("put in place", "put new record", "delete", "insert"):
            cost = ratios(times[operation]["vasmem-flush"], times[operation]["vasmem"])
            summary.setdefault("flush", {})[operation] = cost
            bar_here = FLUSH_BAR if operation.startswith("put") else None
            console.print(f"{operation} with flushes: {verdict(cost, bar_here, least=False)}")
    machine.warn_of_others(result["cores used by others"], console)
    return summary


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.paired", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--operations", type=int, default=40_000, help="per row")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", nargs="+", choices=stores.NAMES, default=list(stores.NAMES))
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the stores' files")
    return parser.parse_args(words)


def main() -> None:
    result = run(parse())
    result["ratios"] = report(result, Console(width=120))
    print(harness.write_result("paired", result))


if __name__ == "__main__":
    main()
