"""One key a call on a map of a million records, by pytest-benchmark.

A timed round is `CHUNK` operations on fresh keys. The stores take turns by test, not by round: for
ratios use benchmarks/paired.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from vasmem.bench import workload as workloads
from vasmem.bench.workload import CHUNK, OPERATIONS, Store, Workload

ROUNDS = 40
ONE_KEY = [name for name, operation in OPERATIONS.items() if not operation.call.endswith("_many")]


@pytest.mark.parametrize("name", ONE_KEY)
def test_one_key_a_call(
    benchmark: BenchmarkFixture,
    opened: dict[str, Store],
    workload: Workload,
    name: str,
    store_name: str,
) -> None:
    operation, store = OPERATIONS[name], opened[store_name]
    rounds = min(ROUNDS, workload.records // CHUNK // 2)
    sample, others = workload.samples(2, rounds * CHUNK)
    workloads.prepare(store, workload, operation, sample)
    # What preparing left in the caches gives way to other records.
    workloads.row(store, workload, OPERATIONS["get"], others)
    waiting = iter(sample)

    def setup() -> tuple[tuple[list[bytes], ...], dict[str, Any]]:
        return workloads.fresh(workload, operation, next(waiting)), {}

    benchmark.group = name
    benchmark.name = store_name
    benchmark.extra_info["operations a round"] = CHUNK
    pedantic: Callable[..., Any] = benchmark.pedantic
    with workloads.no_collection():
        pedantic(getattr(store, operation.call), setup=setup, rounds=rounds)
    workloads.restore(store, workload, operation, sample)
    assert store.count() == workload.records
