"""What a transaction of four keys in two structures costs: ours, alone and optimistic, and lmdb's.

`python -m benchmarks.transactions` puts two values into each of two maps of 16-byte keys, all or
nothing, by `with segment.transaction():`, by a function under `segment.atomic`, and by a write
transaction of py-lmdb over two databases (writemap, without sync). Paired rounds, values that
differ from write to write.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from rich.console import Console

import vasmem
from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import Spread, Workload

from . import harness, paired, stores
from .paired import SPREAD, say

# Transactions a second, in those of lmdb, at least.
BAR = 4
KEYS = 4
Transaction = Callable[[list[bytes], list[bytes]], None]


def ours(address: str, workload: Workload) -> tuple[dict[str, Transaction], Callable[[], None]]:
    """Both ways of a segment with two filled maps, and what ends it."""
    segment = vasmem.create(address, max_size=stores.MAX_BYTES)
    one, two = segment.hashmap("one", raw=True), segment.hashmap("two", raw=True)
    for chunk in workload.chunks(workload.random.permutation(workload.records)):
        keys = workload.keys(chunk.indices)
        for table in (one, two):
            table.put_many(keys, workload.values(chunk.value_start, len(keys)))

    def alone(keys: list[bytes], values: list[bytes]) -> None:
        with segment.transaction():
            put(keys, values)

    def put(keys: list[bytes], values: list[bytes]) -> None:
        one[keys[0]] = values[0]
        two[keys[1]] = values[1]
        one[keys[2]] = values[2]
        two[keys[3]] = values[3]

    def close() -> None:
        segment.close()
        vasmem.remove(address)

    return {"transaction": alone, "atomic": segment.atomic(put)}, close


def theirs(directory: Path, workload: Workload) -> tuple[Transaction, Callable[[], None]]:
    """The same of py-lmdb."""
    import lmdb

    env = lmdb.open(str(directory), map_size=stores.MAX_BYTES, max_dbs=2, writemap=True, sync=False)
    one, two = env.open_db(b"one"), env.open_db(b"two")
    for chunk in workload.chunks(workload.random.permutation(workload.records)):
        keys = workload.keys(chunk.indices)
        pairs = list(zip(keys, workload.values(chunk.value_start, len(keys)), strict=True))
        with env.begin(write=True) as txn:
            for database in (one, two):
                txn.cursor(database).putmulti(pairs)

    def put(keys: list[bytes], values: list[bytes]) -> None:
        with env.begin(write=True) as txn:
            txn.put(keys[0], values[0], db=one)
            txn.put(keys[1], values[1], db=two)
            txn.put(keys[2], values[2], db=one)
            txn.put(keys[3], values[3], db=two)

    return put, env.close


def batches(workload: Workload, count: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The keys and values of so many transactions."""
    for chunk in workload.samples(1, count * KEYS)[0]:
        keys = workload.keys(chunk.indices)
        values = workload.values(chunk.value_start, len(keys))
        for at in range(0, len(keys) - KEYS + 1, KEYS):
            yield keys[at : at + KEYS], values[at : at + KEYS]


def row(transaction: Transaction, work: list[tuple[list[bytes], list[bytes]]]) -> float:
    """ns a transaction."""
    start = perf_counter_ns()
    for keys, values in work:
        transaction(keys, values)
    return (perf_counter_ns() - start) / len(work)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=arguments.directory))
    workload = Workload(arguments.records, arguments.seed)
    shuffle = random.Random(arguments.seed)
    rounds: list[dict[str, float]] = []
    others: list[float] = []
    closers: list[Callable[[], None]] = []
    try:
        ways, close = ours(f"benchmark-{os.getpid()}", Workload(arguments.records, arguments.seed))
        closers.append(close)
        put, close = theirs(directory, Workload(arguments.records, arguments.seed))
        closers.append(close)
        ways["lmdb"] = put
        load_of_others = machine.OtherLoad()
        for number in range(arguments.rounds):
            load_of_others.look()
            work = list(batches(workload, arguments.transactions))
            with workloads.no_collection():
                names = shuffle.sample(list(ways), len(ways))
                rounds.append({name: row(ways[name], work) for name in names})
            others.append(load_of_others.look())
            say(f"round {number + 1} of {arguments.rounds}; others used {others[-1]:.2f} cores")
    finally:
        for close in closers:
            close()
        shutil.rmtree(directory)
    return {
        "machine": machine.facts(Path(arguments.directory)),
        "arguments": vars(arguments),
        "rounds ns": rounds,
        "cores used by others": others,
    }


def report(result: dict[str, Any], console: Console) -> dict[str, Spread]:
    """Prints the figures; gives the ratios back for the file."""
    taken = {name: [one[name] for one in result["rounds ns"]] for name in result["rounds ns"][0]}
    console.print(f"four keys in two structures: {SPREAD}")
    ratios = {}
    for name, times in taken.items():
        console.print(f"  {name}: {Spread.of(times).text(0)} ns")
        if name != "lmdb":
            ratios[name] = paired.ratios(taken["lmdb"], times)
            verdict = paired.verdict(ratios[name], BAR, least=True)
            console.print(f"    times as many as lmdb's: {verdict}")
    machine.warn_of_others(result["cores used by others"], console)
    return ratios


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.transactions", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="of each structure")
    parser.add_argument("--transactions", type=int, default=10_000, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for lmdb's files")
    return parser.parse_args(words)


def main() -> None:
    result = run(parse())
    result["ratios"] = report(result, Console(width=120))
    print(harness.write_result("transactions", result))


if __name__ == "__main__":
    main()
