"""Bytes that an entry takes on the medium, beside the bytes of its key and value.

`python -m benchmarks.space` fills new segments with equal records and asks the kernel how many
blocks their files have (st_blocks). "all" has everything in it: header, lanes, directory and the
part of the last growth step that nothing uses yet; "used" is what the heap counts as handed out.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import Workload

from . import harness

BAR, BAR_VALUE_BYTES = 1.35, 100
VALUE_BYTES = (8, 32, 100, 250, 1000)


def measure(records: int, value_bytes: int) -> dict[str, float]:
    """Bytes per entry of a new segment with so many records."""
    name = f"space-{value_bytes}-{time.time_ns()}"
    workload = Workload(records, seed=1)
    with vasmem.create(name, size=1 << 20, max_size=4 << 30) as segment:
        try:
            table = segment.hashmap("map", raw=True)
            for at in range(0, records, workloads.CHUNK):
                keys = workload.keys(range(at, min(at + workloads.CHUNK, records)))
                values = workload.values(at % 1000, len(keys), value_bytes)
                table.put_many(keys, values)
            info = segment.info()
            files = [path for path in harness.SEGMENTS.rglob(f"*{name}*") if path.is_file()]
            media = sum(path.stat().st_blocks * 512 for path in files)
            if not media:
                raise SystemExit(f"no file of {name} in {harness.SEGMENTS}")
        finally:
            vasmem.remove(name)
    return {"all": media / records, "used": info["used"] / records, "size": info["size"] / records}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.space", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    arguments = parser.parse_args()
    facts = machine.facts(harness.SEGMENTS)
    result: dict[str, Any] = {"machine": facts, "arguments": vars(arguments), "bytes per entry": {}}
    table = Table(title=f"bytes per entry, {arguments.records:,} records, keys of 16 bytes")
    for column in ("value", "all", "times key + value", "used", "times key + value", "verdict"):
        table.add_column(column, justify="right")
    for size in VALUE_BYTES:
        taken = measure(arguments.records, size)
        result["bytes per entry"][size] = taken
        whole = taken["all"] / (workloads.KEY_BYTES + size)
        used = taken["used"] / (workloads.KEY_BYTES + size)
        word = ""
        if size == BAR_VALUE_BYTES:
            word = f"all <= {BAR}: " + ("reached" if whole <= BAR else "missed")
        cells = (f"{taken['all']:.1f}", f"{whole:.2f}", f"{taken['used']:.1f}", f"{used:.2f}")
        table.add_row(str(size), *cells, word)
    Console(width=100).print(table)
    print(harness.write_result("space", result))


if __name__ == "__main__":
    main()
