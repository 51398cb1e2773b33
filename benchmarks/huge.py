"""What huge pages are worth: `get` on segments with huge_pages="try" and "never", in paired rounds.

`python -m benchmarks.huge` makes three equal segments: two without and one with huge pages. The
second one without shows what equal segments differ by, only for where their pages came to lie. How
much of the segment really is in huge pages is printed; where the system gave none, there is
nothing to judge.
"""

from __future__ import annotations

import argparse
import os
import random
from typing import Any

from rich.console import Console

import vasmem
from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import OPERATIONS, Spread, Workload

from . import harness, paired, stores
from .paired import SPREAD, say

# Time of get with huge pages in units of that without, at most.
BAR = 0.85
SEGMENTS = {"never": "never", "never, again": "never", "try": "try"}


def make(name: str, workload: Workload) -> tuple[Any, stores.MappingStore]:
    """A filled segment and its map."""
    address = f"benchmark-{os.getpid()}-{name.replace(', ', '-')}"
    sizes = {"size": stores.START_BYTES, "max_size": stores.MAX_BYTES}
    segment = vasmem.create(address, **sizes, huge_pages=SEGMENTS[name])

    def close() -> None:
        segment.close()
        vasmem.remove(address)

    store = stores.MappingStore(name, segment.hashmap("bench", raw=True), close)
    paired.load(store, workload)
    say(f"loaded {name}")
    return segment, store


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    workload, shuffle = Workload(arguments.records, arguments.seed), random.Random(arguments.seed)
    made: dict[str, tuple[Any, stores.MappingStore]] = {}
    rounds: list[dict[str, float]] = []
    others: list[float] = []
    try:
        for name in SEGMENTS:
            made[name] = make(name, Workload(arguments.records, arguments.seed))
        opened = [store for _, store in made.values()]
        load_of_others = machine.OtherLoad()
        for number in range(arguments.rounds):
            load_of_others.look()
            sample = workload.samples(1, arguments.operations)[0]
            with workloads.no_collection():
                rounds.append(
                    {
                        store.name: workloads.row(store, workload, OPERATIONS["get"], sample)
                        for store in shuffle.sample(opened, len(opened))
                    }
                )
            others.append(load_of_others.look())
            say(f"round {number + 1} of {arguments.rounds}; others used {others[-1]:.2f} cores")
        shares = {
            name: segment.info()["huge"] / segment.size for name, (segment, _) in made.items()
        }
    finally:
        for _, store in made.values():
            store.close()
    return {
        "machine": machine.facts(harness.SEGMENTS),
        "arguments": vars(arguments),
        "rounds ns": rounds,
        "share of the segment in huge pages": shares,
        "cores used by others": others,
    }


def report(result: dict[str, Any], console: Console) -> dict[str, Spread]:
    """Prints the figures; gives the ratios back for the file."""
    taken = {name: [one[name] for one in result["rounds ns"]] for name in SEGMENTS}
    shares = result["share of the segment in huge pages"]
    console.print(f"get: {SPREAD}")
    for name, times in taken.items():
        console.print(f"  {name}: {Spread.of(times).text(0)} ns; {shares[name]:.0%} in huge pages")
    ratios = {name: paired.ratios(taken[name], taken["never"]) for name in SEGMENTS}
    bar = BAR if shares["try"] else None
    console.print(f"try over never: {paired.verdict(ratios['try'], bar, least=False)}")
    console.print(f"never over never: {ratios['never, again'].text()}")
    if not shares["try"]:
        console.print("[red]the system gave no huge pages: nothing to judge")
    machine.warn_of_others(result["cores used by others"], console)
    return ratios


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.huge", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--operations", type=int, default=100_000, help="per round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(words)


def main() -> None:
    result = run(parse())
    result["ratios"] = report(result, Console(width=120))
    print(harness.write_result("huge", result))


if __name__ == "__main__":
    main()
