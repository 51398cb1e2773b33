"""Typed maps: batches of 8-byte keys and values, beside a gather of as many bytes by numpy.

`python -m benchmarks.typed` fills a map of `key="u8", value="f8"` that exceeds the caches, and in
each round looks up 100,000 of its keys in one call, and takes as many pairs of 8-byte numbers from
random places of a private array of as many entries with `numpy.take`.
"""

from __future__ import annotations

import argparse
import os
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console

import vasmem
from vasmem.bench import machine
from vasmem.bench.workload import Spread

from . import harness, paired
from .paired import SPREAD, say

# Keys a second that get_many finds, in millions, at least; or its time in that of take, at most.
BAR_MILLIONS = 15
BAR_TAKE = 1.5


def one_round(
    table: Any, pairs: np.ndarray, chosen: np.ndarray, random: np.random.Generator
) -> dict[str, float]:
    """ns for each key, or pair."""
    keys, values = pairs["key"][chosen], random.random(len(chosen))
    taken = {}
    start = perf_counter_ns()
    found_values, found = table.get_many(keys)
    taken["get_many"] = perf_counter_ns() - start
    if not (found.all() and (found_values == pairs["value"][chosen]).all()):
        raise SystemExit("get_many found other values than were put")
    start = perf_counter_ns()
    np.take(pairs, chosen)
    taken["take"] = perf_counter_ns() - start
    start = perf_counter_ns()
    table.put_many(keys, values)
    taken["put_many"] = perf_counter_ns() - start
    pairs["value"][chosen] = values
    return {name: time / len(chosen) for name, time in taken.items()}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    random = np.random.default_rng(arguments.seed)
    pairs = np.empty(arguments.records, [("key", "u8"), ("value", "f8")])
    keys = np.unique(random.integers(0, 1 << 63, arguments.records + 1000, "u8"))
    pairs["key"] = random.permutation(keys)[: arguments.records]
    pairs["value"] = random.random(arguments.records)
    address = f"benchmark-{os.getpid()}"
    others: list[float] = []
    with vasmem.create(address, max_size="8G") as segment:
        try:
            table = segment.hashmap("typed", key="u8", value="f8")
            for at in range(0, arguments.records, arguments.batch):
                piece = pairs[at : at + arguments.batch]
                table.put_many(piece["key"], piece["value"])
            say(f"loaded {len(table)} entries, {segment.used / len(table):.1f} bytes each")
            load_of_others = machine.OtherLoad()
            rounds = []
            for _ in range(arguments.rounds):
                load_of_others.look()
                chosen = random.integers(0, arguments.records, arguments.batch)
                chosen = np.unique(chosen)
                random.shuffle(chosen)
                rounds.append(one_round(table, pairs, chosen, random))
                others.append(load_of_others.look())
            used_bytes = segment.used
        finally:
            vasmem.remove(address)
    return {
        "machine": machine.facts(harness.SEGMENTS),
        "arguments": vars(arguments),
        "bytes per entry": used_bytes / arguments.records,
        "rounds ns": rounds,
        "cores used by others": others,
    }


def report(result: dict[str, Any], console: Console) -> dict[str, Spread]:
    """Prints the figures; gives them back for the file."""
    taken = {name: [one[name] for one in result["rounds ns"]] for name in result["rounds ns"][0]}
    console.print(f"typed map, ns for each key: {SPREAD}")
    for name, times in taken.items():
        console.print(f"  {name}: {Spread.of(times).text(1)}")
    millions = Spread.of([1000 / time for time in taken["get_many"]])
    ratio = paired.ratios(taken["get_many"], taken["take"])
    console.print(f"millions a second: {paired.verdict(millions, BAR_MILLIONS, least=True)}")
    console.print(f"in takes: {paired.verdict(ratio, BAR_TAKE, least=False)}")
    console.print(f"bytes per entry: {result['bytes per entry']:.1f}")
    machine.warn_of_others(result["cores used by others"], console)
    return {"millions": millions, "takes": ratio}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.typed", description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--batch", type=int, default=100_000, help="keys per call")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(words)


def main() -> None:
    result = run(parse())
    result["figures"] = report(result, Console(width=120))
    print(harness.write_result("typed", result))


if __name__ == "__main__":
    main()
