"""What durability costs on persistent memory: lines and fences, time, recovery.

`python -m benchmarks.flushes` counts flushed lines and fences of single operations on an emulated
segment; compares a put that flushes, on DRAM, with one that does not and the own cost of its two
fences, all in one run; and lets the power fail at 10^3 to 10^7 keys, and times who attaches then.

The own cost of the fences is what clwb and sfence add to a loop of stores to as many lines, at
places as a put has them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import _floor, machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import CHUNK, Spread, Workload

from . import harness, paired, stores

LINES_INSERT, LINES_UPDATE = 9, 8
COST_BAR = 1.2
RECOVERY_BAR_MS = 20
# Lines before each fence: of a lane or another fixed place, one behind the other, at random places.
PATTERNS = {
    "put in place": ((4, 0, 0), (0, 0, 3)),
    "insert": ((3, 3, 0), (2, 0, 1)),
}
MEMORY_MB = 256
ROUNDS_OF_FENCES = 50_000


def counted(segment: Any, deed: Callable[[], object]) -> tuple[int, int]:
    """Lines and fences of one operation."""
    before = segment.nvm()
    deed()
    after = segment.nvm()
    return after["lines"] - before["lines"], after["fences"] - before["fences"]


def count(records: int, directory: Path) -> dict[str, dict[str, list[float]]]:
    """Median and mean of lines, median and most of fences, by structure and operation."""
    workload = Workload(records, seed=3)
    keys, values = workload.keys(range(records)), workload.values(0, records)
    others = workload.values(5, records)
    found: dict[str, dict[str, list[float]]] = {}
    with vasmem.create(f"dax://{directory}/counted", emulate=True, size="64M") as segment:
        rows = segment.array("array", (records, 100), "u1")
        typed = segment.hashmap("typed", key="S16", value="S100")
        for name, mapping in (
            ("hashmap", segment.hashmap("hashmap", raw=True)),
            ("btree", segment.btree("btree", raw=True)),
            ("typed", typed),
        ):
            found[name] = {
                "insert": summary(segment, mapping.__setitem__, keys, values),
                "update": summary(segment, mapping.__setitem__, keys, others),
                "delete": summary(segment, lambda key, _, m=mapping: m.pop(key), keys, values),
            }
        arrays = [memoryview(value) for value in values]
        update = summary(segment, rows.__setitem__, list(range(records)), arrays)
        found["array"] = {"update": update}
    vasmem.remove(f"dax://{directory}/counted")
    return found


def summary(segment: Any, deed: Callable[..., object], keys: Any, values: Any) -> list[float]:
    lines, fences = zip(
        *(
            counted(segment, lambda key=key, value=value: deed(key, value))
            for key, value in zip(keys, values, strict=True)
        ),
        strict=True,
    )
    return [statistics.median(lines), statistics.mean(lines), statistics.median(fences)]


def cost(records: int, directory: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Time of a flushing put in units of one that does not flush plus its fences, by operation."""
    workload, shuffle = Workload(records, seed=2), random.Random(2)
    core = vasmem._core
    if core.flush_method != "clwb":
        raise SystemExit(f"this processor has {core.flush_method}, the comparison needs clwb")
    plain = stores.core_store(core, directory, "plain", flush=False)
    flushing = stores.core_store(core, directory, "flushing", flush=True)
    everything = workload.chunks(workload.random.permutation(records))
    for store in (plain, flushing):
        workloads.fill(store, workload, everything)
    quotients: dict[str, list[float]] = {name: [] for name in PATTERNS}
    with workloads.no_collection():
        for _ in range(arguments.rounds):
            for name, (first, second) in PATTERNS.items():
                operation = workloads.OPERATIONS[name]
                sample = workload.chunks(workload.random.permutation(records)[: 4 * CHUNK])
                times = {}
                for store in shuffle.sample([plain, flushing], 2):
                    workloads.prepare(store, workload, operation, sample)
                    times[store] = workloads.row(store, workload, operation, sample)
                    workloads.restore(store, workload, operation, sample)
                with_it, without = (
                    _floor.round_ns(first, second, MEMORY_MB, ROUNDS_OF_FENCES, flush)
                    for flush in (True, False)
                )
                own = with_it - without
                quotients[name].append(times[flushing] / (times[plain] + own))
    plain.close()
    flushing.close()
    return quotients


def recovery_ms(records: int, directory: Path, times: int) -> list[float]:
    """Milliseconds of attaching after a power failure."""
    url = f"dax://{directory}/recovered"
    segment = vasmem.create(url, emulate=True, size="64M")
    table = segment.hashmap("map", raw=True)
    for at in range(0, records, CHUNK):
        keys = [b"%016d" % number for number in range(at, min(at + CHUNK, records))]
        table.put_many(keys, keys)
    taken = []
    for seed in range(times):
        table[b"%016d" % seed] = b"x" * 16
        segment.crash(seed=seed)
        start = time.perf_counter()
        segment = vasmem.attach(url)
        taken.append((time.perf_counter() - start) * 1000)
        table = segment.hashmap("map", raw=True)
        assert len(table) == records
    segment.close()
    vasmem.remove(url)
    return taken


def print_counts(console: Console, found: dict[str, dict[str, list[float]]]) -> None:
    table = Table(title="lines flushed and fences, values of 100 bytes, keys of 16")
    for column in ("", "operation", "lines, median", "mean", "fences, median", "verdict"):
        table.add_column(column, justify="left" if column in ("", "operation") else "right")
    bars = {("hashmap", "insert"): LINES_INSERT, ("hashmap", "update"): LINES_UPDATE}
    for name, operations in found.items():
        for operation, (median, mean, fences) in operations.items():
            bar = bars.get((name, operation))
            reached = "reached" if bar and median <= bar and fences == 2 else "missed"
            verdict = f"<= {bar} lines, 2 fences: {reached}" if bar else ""
            table.add_row(name, operation, f"{median:g}", f"{mean:.2f}", f"{fences:g}", verdict)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.flushes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--largest-power", type=int, default=7, help="of 10, keys at recovery")
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the segments")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=arguments.directory))
    console = Console(width=120)
    result: dict[str, Any] = {"machine": machine.facts(directory), "arguments": vars(arguments)}
    others = machine.OtherLoad()
    others.look()
    try:
        result["counts"] = count(min(arguments.records, 10_000), directory)
        print_counts(console, result["counts"])
        result["cost"] = cost(arguments.records, directory, arguments)
        for name, quotients in result["cost"].items():
            console.print(f"{name}: with flushes, in units of without them plus two fences:")
            console.print(f"  {paired.verdict(Spread.of(quotients), COST_BAR, least=False)}")
        result["recovery ms"] = {}
        for power in range(3, arguments.largest_power + 1):
            taken = recovery_ms(10**power, directory, 5)
            result["recovery ms"][10**power] = taken
            console.print(f"10^{power} keys: attached after a power failure in")
            bar = paired.verdict(Spread.of(taken), RECOVERY_BAR_MS, least=False)
            console.print(f"  {bar} ms")
    finally:
        shutil.rmtree(directory)
    result["cores used by others"] = others.look()
    console.print(f"other processes used {result['cores used by others']:.2f} cores")
    print(harness.write_result("flushes", result))


if __name__ == "__main__":
    main()
