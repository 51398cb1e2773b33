"""Writes the Speed table of the README from the newest result of each benchmark.

`python -m benchmarks.speed_table` replaces what stands between the two marks in README.md. What has
not been measured is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import BATCH, CHUNK, Spread

from . import harness, ycsb

BEGIN, END = "<!-- speed:begin -->\n", "<!-- speed:end -->\n"
ROWS = {
    "get": "`m[key]`",
    "miss": "`m.get(key)`, not there",
    "put in place": "`m[key] = value`, same length",
    "put new record": "`m[key] = value`, new record",
    "delete": "`del m[key]`",
    "insert": "`m[key] = value`, new key",
    "get_many": f"`m.get_many(keys)`, {BATCH} at a time",
    "put_many in place": f"`m.put_many(keys, values)`, {CHUNK:,} at a time, same length",
    "put_many new record": f"`m.put_many(keys, values)`, {CHUNK:,} at a time, new records",
}
Result = dict[str, Any]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def number(figures: list[float] | None, digits: int = 1) -> str:
    """Median and, in brackets, lowest and highest round."""
    return Spread(*figures).text(digits) if figures else ""


def of_store(result: Result | None, store: str, row: str, other: str) -> str:
    """How a store stands to another; nothing if it was not measured."""
    return number((result or {}).get("ratios", {}).get(store, {}).get(row, {}).get(other))


def ratios(paired: Result, mixed: Result | None) -> str:
    """The first table: what was compared with py-lmdb and the floor."""
    columns = {
        "times as fast as py-lmdb": ("vasmem", "lmdb"),
        "with small pages": ("vasmem-4k", "lmdb"),
        "time in floors": ("vasmem", "floor-2m"),
        "with small pages, both": ("vasmem-4k", "floor"),
        "with flushes": ("vasmem-flush", "floor-2m"),
    }
    rows = [
        [label, *(of_store(paired, store, name, other) for store, other in columns.values())]
        for name, label in ROWS.items()
    ]
    for name, mix in ycsb.MIXES.items() if mixed else ():
        cells = [of_store(mixed, store, name, other) for store, other in columns.values()]
        rows.append([f"YCSB {name}, {mix.reads:.0%} reads", *cells])
    return table(["", *columns], rows)


def others() -> Iterator[list[str]]:
    """The rows of the second table."""
    if pair := harness.newest_result("together"):
        figures, private = pair["figures"]["vasmem"], pair["figures"]["private"]
        for label, name, digits in (
            ("two reader processes, in units of one (beside it: nothing shared)", "two readers", 2),
            ("a reader beside a writer loses, % (the same)", "reader loses %", 0),
            ("a writer beside a reader loses, % (the same)", "writer loses %", 0),
        ):
            yield [label, number(figures[name], digits), number(private[name], digits)]
    if attached := harness.newest_result("attach"):
        size, times = list(attached["attach and get ms"].items())[-1]
        label = f"a new process attaches {int(size):,} records and has read the first, ms"
        yield [label, number(list(Spread.of(times)), 2), ""]
    if started := harness.newest_result("startup"):
        own = {
            name: Spread.of([pair[0] for pair in pairs]) for name, pairs in started["ms"].items()
        }
        label = "`import vasmem`, ms (`import numpy`)"
        yield [label, number(list(own["vasmem"]), 0), number(list(own["numpy"]), 0)]
    if huge := harness.newest_result("huge"):
        share = huge["share of the segment in huge pages"]["try"]
        label = f"`m[key]` with {share:.0%} in huge pages, in units of without (without, again)"
        yield [label, number(huge["ratios"]["try"], 2), number(huge["ratios"]["never, again"], 2)]
    if filled := harness.newest_result("space"):
        each = filled["bytes per entry"][str(workloads.VALUE_BYTES)]["all"]
        label = "memory per entry, in units of key + value"
        yield [label, f"{each / (workloads.KEY_BYTES + workloads.VALUE_BYTES):.2f}", ""]


def latency() -> str:
    """What the lab's `latency` says of kills."""
    result = harness.newest_result("latency")
    if not result:
        return ""
    rows = [
        [f"{size['MiB']} MiB", f"{size['median ms']:.1f}", f"{size['p99 ms']:.1f}"]
        for size in result["sizes"]
    ]
    told = (
        "\nHow long a writer waits for the locks of a killed one, by the memory that this one had\n"
    )
    told += "touched (the kernel frees it before it drops locks; readers do not wait):\n\n"
    return told + table(["", "median, ms", "p99, ms"], rows)


def text() -> str:
    """All that stands between the marks."""
    paired = harness.newest_result("paired")
    if not paired:
        raise SystemExit("no result of benchmarks.paired")
    facts = paired["machine"]
    busy = max(paired["cores used by others"])
    beside = ""
    if busy > machine.OTHERS_MAX:
        beside = f"\nWhile it ran, other processes used up to {busy:.1f} cores."
    opening = (
        f"{paired['arguments']['records']:,} random keys of {workloads.KEY_BYTES} bytes, values of "
        f"{workloads.VALUE_BYTES} bytes, raw map;\nmedian [lowest..highest] of "
        f"{paired['arguments']['rounds']} paired rounds on {facts['cores']} cores ({facts['cpu']}, "
        f"Linux {facts['kernel']}).{beside}\n"
        "vasmem and the floor have huge pages, or both small ones of 4 KiB, which are py-lmdb's;\n"
        "flushes are as on memory that survives a power failure, in floors.\n\n"
    )
    rows = list(others())
    more = "\n" + table(["", "figure", "beside it"], rows) if rows else ""
    return opening + ratios(paired, harness.newest_result("ycsb")) + more + latency()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.speed_table", description=__doc__)
    page = harness.HERE.parent / "README.md"
    parser.add_argument("page", nargs="?", type=Path, default=page, help="default: README.md")
    page = parser.parse_args().page
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{page} lacks a line {BEGIN.strip()} or {END.strip()} after it")
    page.write_text(before + BEGIN + text() + END + after)
    print(page)


if __name__ == "__main__":
    main()
