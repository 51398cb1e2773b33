"""What it costs to attach an existing segment and read its first key, by its size.

`python -m benchmarks.attach` makes segments of 10^3 to 10^7 records and lets new processes attach
them, one a process and the sizes by turns. A process takes the time from a moment when vasmem is
imported until it holds the value, so interpreter start and import are not in it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import Spread, Workload

from . import harness

BAR_MS = 0.5
CHILD = """
import sys, time, vasmem
name, key = sys.argv[1], bytes.fromhex(sys.argv[2])
start = time.perf_counter_ns()
segment = vasmem.attach(name)
value = segment.hashmap("map", raw=True)[key]
print(time.perf_counter_ns() - start)
assert len(value) == 100
segment.close()
"""


def make(records: int, name: str) -> tuple[vasmem.Segment, bytes]:
    """A new segment of so many records, and one of its keys."""
    workload = Workload(records, seed=1)
    segment = vasmem.create(name, max_size=4 << 30)
    table = segment.hashmap("map", raw=True)
    for at in range(0, records, workloads.CHUNK):
        keys = workload.keys(range(at, min(at + workloads.CHUNK, records)))
        table.put_many(keys, workload.values(at % 1000, len(keys)))
    return segment, workload.keys([0])[0]


def attach_ms(name: str, key: bytes) -> float:
    """Milliseconds that a new process takes from the import to the value."""
    command = [sys.executable, "-c", CHILD, name, key.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    sizes = [10**power for power in range(3, arguments.largest_power + 1)]
    made = {}
    try:
        for size in sizes:
            made[size] = make(size, f"attach-{size}-{time.time_ns()}")
        taken: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(arguments.rounds):
            for size in random.sample(sizes, len(sizes)):
                segment, key = made[size]
                taken[size].append(attach_ms(segment.name, key))
    finally:
        for segment, _ in made.values():
            segment.close()
            vasmem.remove(segment.name)
    facts = machine.facts(harness.SEGMENTS)
    return {"machine": facts, "arguments": vars(arguments), "attach and get ms": taken}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.attach", description=__doc__)
    parser.add_argument("--largest-power", type=int, default=7, help="of ten: records")
    parser.add_argument("--rounds", type=int, default=21)
    result = run(parser.parse_args())
    table = Table(title=f"attach and first get, ms: median (lowest..highest); bar {BAR_MS}")
    table.add_column("records")
    table.add_column("ms")
    table.add_column("verdict")
    for size, taken in result["attach and get ms"].items():
        spread = Spread.of(taken)
        word = "reached" if spread.median < BAR_MS else "missed"
        table.add_row(f"{size:,}", spread.text(3), word)
    Console(width=100).print(table)
    print(harness.write_result("attach", result))


if __name__ == "__main__":
    main()
