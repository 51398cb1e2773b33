"""Options and the stores of the pytest-benchmark runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vasmem.bench import workload as workloads

from . import paired, stores


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vasmem benchmarks")
    group.addoption("--records", type=int, default=1_000_000)
    group.addoption("--stores", default=",".join(stores.NAMES), help="names, by commas")
    group.addoption("--directory", default="/dev/shm", help="a tmpfs, for the stores' files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--stores").split(",")
        metafunc.parametrize("store_name", names)


@pytest.fixture(scope="session")
def workload(pytestconfig: pytest.Config) -> workloads.Workload:
    return workloads.Workload(pytestconfig.getoption("--records"), seed=1)


@pytest.fixture(scope="session")
def opened(
    pytestconfig: pytest.Config, workload: workloads.Workload
) -> Iterator[dict[str, workloads.Store]]:
    """All stores, each holding all records, by name."""
    names = pytestconfig.getoption("--stores").split(",")
    directory = Path(pytestconfig.getoption("--directory"))
    with stores.Stores(names, workload.records, directory) as made:
        for store in made.open:
            paired.load(store, workloads.Workload(workload.records, seed=1))
        yield {store.name: store for store in made.open}
