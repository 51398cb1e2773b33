"""What an array costs beside memory of this process alone: `python -m benchmarks.array`.

The sum and the fill of 80 MB through `view` are compared with those of a private numpy array, both
on pages of 4 KiB that were touched before; attaching is timed until the sum of one row is known; an
update of 4 KiB through the handle is compared with what it cannot do without: a copy of 4 KiB, and
the writing of its 8 KiB of redo record. Rows are taken in turns, so both meet the same machine.
"""

from __future__ import annotations

import argparse
import mmap
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import machine
from vasmem.bench.workload import Spread

from . import harness

ITEMS = 10_000_000
UPDATED = 512
BAR_VIEW = 1.1
BAR_ATTACH_US = 200.0
BAR_UPDATE = 0.3
# Calls in one timing of those that take about a microsecond.
CALLS = 1000


def private() -> NDArray[np.float64]:
    """Memory of this process, on small pages: numpy itself asks for huge ones."""
    memory = mmap.mmap(-1, ITEMS * 8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, "f8")


def seconds(work: Callable[[], object], calls: int = 1) -> float:
    """Of the processor for this thread: nothing here waits, and others run meanwhile."""
    start = time.thread_time_ns()
    for _ in range(calls):
        work()
    return (time.thread_time_ns() - start) / 1e9 / calls


def ratios(
    rounds: int, one: Callable[[], object], other: Callable[[], object], calls: int = 1
) -> list[float]:
    """Time of one as parts of that of the other, in turns."""
    return [seconds(one, calls) / seconds(other, calls) for _ in range(rounds)]


def attach_us(name: str) -> float:
    start = time.perf_counter_ns()
    segment = vasmem.attach(name)
    segment.array("array").view[0].sum()
    taken = (time.perf_counter_ns() - start) / 1e3
    segment.close()
    return taken


def measure(segment: vasmem.Segment, rounds: int) -> dict[str, list[float]]:
    array = segment.array("array", (ITEMS // UPDATED, UPDATED), "f8")
    shared, alone = array.view, private()[: ITEMS // UPDATED * UPDATED].reshape(array.shape)
    shared[:] = alone[:] = 1
    row, pairs = np.arange(float(UPDATED)), np.zeros(2 * UPDATED)
    log = np.zeros(2 * UPDATED)

    def floor() -> None:
        log[:] = pairs
        alone[7] = row

    return {
        "sum": ratios(rounds, shared.sum, alone.sum),
        "fill": ratios(rounds, lambda: shared.fill(2), lambda: alone.fill(2)),
        "attach us": [attach_us(segment.name) for _ in range(rounds)],
        "update": ratios(rounds, floor, lambda: array.update(7, row), CALLS),
        "update us": [1e6 * seconds(lambda: array.update(7, row), CALLS) for _ in range(rounds)],
        "floor us": [1e6 * seconds(floor, CALLS) for _ in range(rounds)],
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    name = f"array-{time.time_ns()}"
    with vasmem.create(name, max_size=1 << 30, huge_pages="never") as segment:
        try:
            measured = measure(segment, arguments.rounds)
        finally:
            vasmem.remove(name)
    return {"machine": machine.facts(harness.SEGMENTS), "arguments": vars(arguments), **measured}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.array", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    result = run(parser.parse_args())
    table = Table(title="arrays: median (lowest..highest)")
    for column in ("what", "measured", "bar", "verdict"):
        table.add_column(column)
    rows = [
        ("sum of 80 MB, view / private", "sum", 3, f"<= {BAR_VIEW}", lambda x: x <= BAR_VIEW),
        ("fill of 80 MB, view / private", "fill", 3, f"<= {BAR_VIEW}", lambda x: x <= BAR_VIEW),
        ("attach, us", "attach us", 0, f"< {BAR_ATTACH_US:.0f}", lambda x: x < BAR_ATTACH_US),
        ("speed of an update of 4 KiB / floor", "update", 2, f">= {BAR_UPDATE}", None),
    ]
    for what, key, digits, bar, reached in rows:
        spread = Spread.of(result[key])
        good = reached(spread.median) if reached else spread.median >= BAR_UPDATE
        table.add_row(what, spread.text(digits), bar, "reached" if good else "missed")
    Console(width=100).print(table)
    print(harness.write_result("array", result))


if __name__ == "__main__":
    main()
