"""The workloads of YCSB, A to F, as streams of operations.

Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010: A half updates, B 5 % of
them, C reads only, D reads of the latest with 5 % inserts, E short scans with 5 % inserts, F half
read-modify-writes. A record is one value; an update writes it whole.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from vasmem.bench import zipfian
from vasmem.bench.lanes import Lane
from vasmem.bench.workload import CHUNK, Workload

SCAN_MAX = 100


class Mix(NamedTuple):
    """The share of plain reads, or scans; what the others are; how keys are drawn."""

    reads: float
    call: str
    latest: bool = False


MIXES = {
    "YCSB A": Mix(0.5, "mixed"),
    "YCSB B": Mix(0.95, "mixed"),
    "YCSB C": Mix(1.0, "mixed"),
    "YCSB D": Mix(0.95, "mixed", latest=True),
    "YCSB E": Mix(0.95, "scan"),
    "YCSB F": Mix(0.5, "modify"),
}


def scans(store: Any, keys: list[bytes], values: list[bytes | None], lengths: list[int]) -> int:
    """Scans from the keys whose value is None, puts the others; ns."""
    scan, put = store.scan_one, store.put_one
    start = perf_counter_ns()
    for key, value, length in zip(keys, values, lengths, strict=True):
        if value is None:
            scan(key, length)
        else:
            put(key, value)
    return perf_counter_ns() - start


def latest(workload: Workload, inserts: np.ndarray) -> tuple[list[bytes], list[bytes]]:
    """Keys of D: new ones in order, and popular are the last ones; and the new keys."""
    before = workload.records + np.cumsum(inserts) - inserts
    ranks = zipfian.ranks(workload.random.random(len(inserts))).astype(np.int64)
    places = np.where(inserts, before, before - 1 - ranks % before)
    keys = [
        workload.keys([place - workload.records], unknown=True)[0]
        if place >= workload.records
        else workload.keys([place])[0]
        for place in places.tolist()
    ]
    new = [key for key, insert in zip(keys, inserts.tolist(), strict=True) if insert]
    return keys, new


def chunk(lane: Lane, mix: Mix) -> tuple[int, list[bytes]]:
    """Does a thousand operations; ns, and the keys that were new."""
    workload, random = lane.workload, lane.workload.random
    writes = random.random(CHUNK) >= mix.reads
    new: list[bytes] = []
    if mix.latest:
        keys, new = latest(workload, writes)
    else:
        keys = workload.keys(zipfian.draw(random, workload.records, CHUNK).tolist())
    if mix.call == "scan":
        new = workload.keys(range(int(writes.sum())), unknown=True)
        fresh = iter(new)
        keys = [next(fresh) if write else key for key, write in zip(keys, writes, strict=True)]
    start = int(random.integers(0, 1 << 19))
    values = [
        value if write else None
        for value, write in zip(workload.values(start, CHUNK), writes.tolist(), strict=True)
    ]
    if mix.call == "scan":
        lengths = random.integers(1, SCAN_MAX + 1, CHUNK).tolist()
        return scans(lane.store, keys, values, lengths), new
    return getattr(lane.store, mix.call)(keys, values), new


def row(lane: Lane, name: str) -> float:
    """Does one of `MIXES` as long as its time; ns an operation."""
    total, count = 0, lane.count(name)
    for _ in range(count):
        ns, new = chunk(lane, MIXES[name])
        total += ns
        if new:
            lane.store.bulk_delete(new)
    lane.took(name, total / (count * CHUNK))
    return total / (count * CHUNK)
