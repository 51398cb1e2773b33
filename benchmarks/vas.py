"""What a VAS costs: switching in and out, making one, attaching a segment of 1 MiB and of 8 GiB.

`python -m benchmarks.vas`. A switch is the whole `with` statement of Python. Where the processor
has no protection keys it is two mprotect calls for each attached segment, and the row says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem import _core
from vasmem.bench import machine
from vasmem.bench.workload import Spread, no_collection

from . import harness

# Goals in microseconds; that of the switch is for processors with protection keys.
BARS_US = {
    "switch, nothing attached": 0.3,
    "switch, one segment": 0.3,
    "create a VAS": 20.0,
    "attach 1 MiB": 60.0,
    "attach 8 GiB": 60.0,
}
SIZES = {"1 MiB": 1 << 20, "8 GiB": 8 << 30}


def timed_us(operation: Callable[[], Any], count: int, tidy: Callable[[Any], object]) -> float:
    """Microseconds an operation; what it made is tidied up outside of the time."""
    total = 0
    for _ in range(count):
        start = time.perf_counter_ns()
        made = operation()
        total += time.perf_counter_ns() - start
        tidy(made)
    return total / count / 1e3


def switches_us(vas: Any, count: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(count):
        with vas.switch():
            pass
    return (time.perf_counter_ns() - start) / count / 1e3


def one_round(stamp: str) -> dict[str, float]:
    found = {}
    name = f"vas-{stamp}"
    with vasmem.Vas.create(name) as vas:
        found["switch, nothing attached"] = switches_us(vas, 20_000)
        vas.add(f"{stamp}-1 MiB".replace(" ", "-"))
        with vas.switch() as space:
            space[f"{stamp}-1-MiB"].hashmap("users")["ada"] = 1
        found["switch, one segment"] = switches_us(vas, 2_000)
    vasmem.Vas.remove(name)

    def forget(made: Any) -> None:
        made.close()
        vasmem.Vas.remove(name)

    found["create a VAS"] = timed_us(lambda: vasmem.Vas.create(name), 200, forget)
    for size in SIZES:
        segment = f"{stamp}-{size}".replace(" ", "-")
        attach = timed_us(lambda at=segment: vasmem.attach(at), 200, lambda made: made.close())
        found[f"attach {size}"] = attach
    return found


def run(rounds: int) -> dict[str, Any]:
    stamp = str(time.time_ns())
    names = []
    try:
        for size, size_bytes in SIZES.items():
            names.append(f"{stamp}-{size}".replace(" ", "-"))
            vasmem.create(names[-1], size=size_bytes, max_size=8 << 30).close()
        with no_collection():
            taken = [one_round(stamp) for _ in range(rounds)]
    finally:
        for name in names:
            vasmem.remove(name)
    figures = {row: [each[row] for each in taken] for row in BARS_US}
    return {
        "machine": machine.facts(harness.SEGMENTS),
        "protection keys": _core.has_keys(),
        "us": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.vas", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    result = run(parser.parse_args().rounds)
    how = "protection keys" if result["protection keys"] else "mprotect: no keys here"
    table = Table(title=f"us: median [lowest..highest]; switching by {how}")
    for column in ("what", "us", "goal"):
        table.add_column(column)
    for row, taken in result["us"].items():
        table.add_row(row, Spread.of(taken).text(2), f"{BARS_US[row]:g}")
    Console(width=100).print(table)
    print(harness.write_result("vas", result))


if __name__ == "__main__":
    main()
