"""What `guard=True` costs: get, put in place and put of a new key, beside a plain attachment.

`python -m benchmarks.guard`. The same segment is attached both ways, and rounds of both take turns.
Where the processor has no protection keys a write is two mprotect calls, and the title says so.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem import _core
from vasmem.bench import machine
from vasmem.bench.workload import KEY_BYTES, VALUE_BYTES, Spread, no_collection

from . import harness

KEYS = 20_000
PUTS = 2_000
VALUE = b"v" * VALUE_BYTES
OTHER = b"w" * VALUE_BYTES
# Goals: what guarded operations may take longer, in percent, with protection keys.
BARS_PERCENT = {"get": 0.0, "put in place": 25.0, "put a new key": 25.0}


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "little")


def gets_ns(users: Any) -> float:
    keys = [key(number) for number in range(KEYS)]
    start = time.perf_counter_ns()
    for each in keys:
        users[each]
    return (time.perf_counter_ns() - start) / KEYS


def puts_ns(users: Any, first: int, value: bytes) -> float:
    keys = [key(number) for number in range(first, first + PUTS)]
    start = time.perf_counter_ns()
    for each in keys:
        users[each] = value
    return (time.perf_counter_ns() - start) / PUTS


def one_round(segment: vasmem.Segment, fresh: int) -> dict[str, float]:
    users = segment.hashmap("users", raw=True)
    found = {
        "get": gets_ns(users),
        "put in place": puts_ns(users, 0, OTHER),
        "put a new key": puts_ns(users, fresh, VALUE),
    }
    for number in range(fresh, fresh + PUTS):
        del users[key(number)]
    return found


def run(rounds: int) -> dict[str, Any]:
    name = f"guard-{time.time_ns()}"
    taken: dict[str, list[dict[str, float]]] = {"plain": [], "guarded": []}
    with vasmem.create(name, size="64M", max_size="1G") as plain:
        try:
            users = plain.hashmap("users", raw=True)
            for number in range(KEYS):
                users[key(number)] = VALUE
            with vasmem.attach(name, guard=True) as guarded, no_collection():
                both = {"plain": plain, "guarded": guarded}
                for segment in both.values():
                    one_round(segment, KEYS)
                for _ in range(rounds):
                    for way, segment in both.items():
                        taken[way].append(one_round(segment, KEYS))
        finally:
            vasmem.remove(name)
    ns = {
        row: {way: [each[row] for each in figures] for way, figures in taken.items()}
        for row in BARS_PERCENT
    }
    return {
        "machine": machine.facts(harness.SEGMENTS),
        "protection keys": _core.has_keys(),
        "ns": ns,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.guard", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    result = run(parser.parse_args().rounds)
    how = "protection keys" if result["protection keys"] else "mprotect: no keys here"
    table = Table(title=f"ns: median and range; guarded by {how}")
    for column in ("what", "plain", "guarded", "more, %", "goal, %"):
        table.add_column(column)
    for row, both in result["ns"].items():
        plain, guarded = (Spread.of(both[way]) for way in ("plain", "guarded"))
        more = (guarded.median / plain.median - 1) * 100
        bar = f"{BARS_PERCENT[row]:g}"
        table.add_row(row, plain.text(0), guarded.text(0), f"{more:.0f}", bar)
    Console(width=110).print(table)
    print(harness.write_result("guard", result))


if __name__ == "__main__":
    main()
