"""A B-tree beside py-lmdb and a SortedDict in private memory.

`python -m benchmarks.btree` loads a raw BTree, py-lmdb and sortedcontainers' SortedDict with the
same random records, and goes through rounds as `benchmarks.paired` does: in each every store does
an operation with the same keys before the next operation begins. Ratios are medians over rounds.
A typed tree of 8-byte numbers stands beside another lmdb with the same pairs.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import Operation, Workload

from . import harness, stores

# Items of one scan.
ITEMS = 100
# Pairs of numbers that are loaded at a time.
BATCH = 100_000
OPERATIONS = {
    "get": Operation("get_item"),
    "put in place": Operation("put"),
    "delete": Operation("delete", after="absent"),
    "insert": Operation("put", before="absent"),
    "scan of 100 items": Operation("scan"),
    "100 keys by irange": Operation("scan_keys"),
}
BULK = "bulk build, sorted"
ARRAYS = "100 items by items_array"
# Times as fast as the reference, at least; 1.3 times its time is 0.77.
BARS = {
    ("get", "lmdb"): 1.5,
    ("put in place", "lmdb"): 5,
    ("insert", "lmdb"): 5,
    ("delete", "lmdb"): 5,
    ("scan of 100 items", "lmdb"): 3,
    ("get", "sorteddict"): 0.77,
    ("100 keys by irange", "sorteddict"): 6,
    (BULK, "sorteddict"): 3,
    (ARRAYS, "lmdb"): 15,
}


def consume(items: Iterable[Any]) -> None:
    """Takes the first items of a scan, in C."""
    deque(islice(items, ITEMS), maxlen=0)


class Sorted(stores.MappingStore):
    """A sorted mapping: the BTree and the SortedDict."""

    def __init__(
        self, name: str, make: Callable[[], Any], items: Callable[[Any, bytes], Iterable[Any]]
    ) -> None:
        super().__init__(name, make(), lambda: None)
        self.make = make
        self.items = items

    def scan(self, keys: list[bytes]) -> int:
        items, mapping = self.items, self.map
        start = perf_counter_ns()
        for key in keys:
            consume(items(mapping, key))
        return perf_counter_ns() - start

    def scan_keys(self, keys: list[bytes]) -> int:
        irange = self.map.irange
        start = perf_counter_ns()
        for key in keys:
            consume(irange(key))
        return perf_counter_ns() - start

    def build(self, pairs: list[tuple[bytes, bytes]]) -> int:
        fresh = self.make()
        start = perf_counter_ns()
        fresh.update(pairs)
        return perf_counter_ns() - start


class Lmdb(stores.LmdbStore):
    """py-lmdb with scans, each a read transaction with a cursor."""

    def scan(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            cursor = begin().cursor()
            cursor.set_range(key)
            consume(cursor)
        return perf_counter_ns() - start

    def scan_keys(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            cursor = begin().cursor()
            cursor.set_range(key)
            consume(cursor.iternext(keys=True, values=False))
        return perf_counter_ns() - start


class Numbers:
    """Random numbers of 8 bytes with as large values: a typed tree, and lmdb with the same."""

    def __init__(self, segment: Any, directory: Path, records: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.keys = random.permutation(np.unique(random.integers(0, 1 << 63, records, "u8")))
        self.typed = segment.btree("numbers", key="u8", value="u8")
        directory.mkdir()
        self.lmdb = Lmdb(directory)
        for part in np.array_split(self.keys, len(self.keys) // BATCH + 1):
            self.typed.put_many(part, part)
            packed = [number.tobytes() for number in part.astype(">u8")]
            self.lmdb.bulk_put(packed, packed)

    def scan(self, sample: int, shuffle: random.Random) -> dict[str, int]:
        """ns that as many scans take."""
        keys = self.keys[[shuffle.randrange(len(self.keys)) for _ in range(sample)]]
        packed = [number.tobytes() for number in keys.astype(">u8")]
        taken = {}
        for name in shuffle.sample(["vasmem", "lmdb"], 2):
            taken[name] = self.arrays(keys.tolist()) if name == "vasmem" else self.lmdb.scan(packed)
        return taken

    def arrays(self, keys: list[int]) -> int:
        items_array = self.typed.items_array
        start = perf_counter_ns()
        for key in keys:
            items_array(key, limit=ITEMS)
        return perf_counter_ns() - start


def open_stores(segment: Any, directory: Path) -> list[Any]:
    from sortedcontainers import SortedDict

    def tree() -> Any:
        # The first one stays, as do the numbers.
        for name in list(segment):
            if name.startswith("tree") and name != "tree 0":
                del segment[name]
        return segment.btree(f"tree {len(segment)}", raw=True)

    def items_of_dict(mapping: Any, key: bytes) -> Iterable[Any]:
        return ((found, mapping[found]) for found in mapping.irange(key))

    return [
        Sorted("vasmem", tree, lambda mapping, key: mapping.items().irange(key)),
        Lmdb(directory),
        Sorted("sorteddict", SortedDict, items_of_dict),
    ]


def one_round(
    opened: list[Any],
    numbers: Numbers,
    workload: Workload,
    shuffle: random.Random,
    operations: int,
) -> dict[str, dict[str, float]]:
    """ns per operation, item or entry, by operation and store."""
    taken: dict[str, dict[str, float]] = {}
    for name, operation in OPERATIONS.items():
        scans = operation.call.startswith("scan")
        sample = workload.samples(1, max(operations // ITEMS, 1) if scans else operations)[0]
        taken[name] = {}
        for store in shuffle.sample(opened, len(opened)):
            workloads.prepare(store, workload, operation, sample)
            with workloads.no_collection():
                taken[name][store.name] = workloads.row(store, workload, operation, sample)
            workloads.restore(store, workload, operation, sample)
    scans = max(operations // ITEMS, 1)
    with workloads.no_collection():
        scanned = numbers.scan(scans, shuffle)
    taken[ARRAYS] = {name: time / scans for name, time in scanned.items()}
    keys = sorted(workload.keys(range(workload.records // 4)))
    pairs = list(zip(keys, workload.values(0, len(keys)), strict=True))
    builders = [store for store in opened if isinstance(store, Sorted)]
    with workloads.no_collection():
        taken[BULK] = {store.name: store.build(pairs) / len(pairs) for store in builders}
    return taken


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    workload = Workload(arguments.records, arguments.seed)
    shuffle = random.Random(arguments.seed)
    facts = machine.facts(Path(arguments.directory))
    rounds, others = [], []
    name = stores.segment_name(os.getpid(), "btree")
    with (
        stores.Stores([], arguments.records, Path(arguments.directory)) as files,
        vasmem.create(name, size=stores.START_BYTES, max_size=stores.MAX_BYTES) as segment,
    ):
        try:
            opened = open_stores(segment, files.directory)
            everything = workload.samples(1, arguments.records)[0]
            for store in opened:
                workloads.fill(store, workload, everything)
            numbers = Numbers(
                segment, files.directory / "numbers", arguments.records, arguments.seed
            )
            load_of_others = machine.OtherLoad()
            for _ in range(arguments.rounds):
                load_of_others.look()
                taken = one_round(opened, numbers, workload, shuffle, arguments.operations)
                rounds.append(taken)
                others.append(load_of_others.look())
            counts = {store.name: store.count() for store in opened}
            assert set(counts.values()) == {arguments.records}, counts
            opened[1].close()
            numbers.lmdb.close()
        finally:
            vasmem.remove(name)
    return {
        "machine": facts,
        "arguments": vars(arguments),
        "rounds ns": rounds,
        "cores used by others": others,
    }


def report(result: dict[str, Any], console: Console) -> dict[str, dict[str, float]]:
    """Prints a table, and gives its ratios back for the file."""
    rounds = result["rounds ns"]
    table = Table(
        title=f"{result['arguments']['records']:,} records; ns per operation, or per scan"
    )
    references = ("lmdb", "sorteddict")
    for column in ("", "vasmem", *references, *(f"times as fast as {name}" for name in references)):
        table.add_column(column, justify="right" if column else "left")
    ratios: dict[str, dict[str, float]] = {}
    for row in rounds[0]:
        cells = [
            f"{statistics.median(each[row][name] for each in rounds):,.0f}"
            if name in rounds[0][row]
            else ""
            for name in ("vasmem", *references)
        ]
        ratios[row] = {}
        for name in references:
            if name not in rounds[0][row]:
                cells.append("")
                continue
            ratio = statistics.median(each[row][name] / each[row]["vasmem"] for each in rounds)
            ratios[row][name] = ratio
            bar = BARS.get((row, name))
            verdict = f" (bar {bar}: {'reached' if ratio >= bar else 'missed'})" if bar else ""
            cells.append(f"{ratio:.2f}{verdict}")
        table.add_row(row, *cells)
    console.print(table)
    machine.warn_of_others(result["cores used by others"], console)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.btree", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--operations", type=int, default=40_000, help="per row; scans a hundredth")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the stores' files")
    result = run(parser.parse_args())
    result["ratios"] = report(result, Console(width=120))
    print(harness.write_result("btree", result))


if __name__ == "__main__":
    main()
