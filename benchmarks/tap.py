"""What the recording tap costs a `put` when nothing records.

Builds the core of this checkout as it is and without the tap (its feature `untapped`). Both live in
this process, next to a second copy of the former that shows what the comparison itself makes of two
equal builds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import CHUNK, Spread, Workload

from . import harness, paired, stores

BAR = 1.02
# All in cache, where a branch weighs most, and what does not fit there.
SIZES = (1_000, 100_000)
# Cargo features of each build.
FEATURES = {"with": (), "again": (), "without": ("untapped",)}


def build_all(directory: Path) -> dict[str, Path]:
    """The extensions that are compared, by name."""
    paths = {}
    for name, features in FEATURES.items():
        paths[name] = directory / f"{name}.so"
        harness.build_core(paths[name], *features)
    return paths


def load(source: Path, folder: Path) -> Any:
    """A module of its own, with statics and addresses of its own."""
    copied = shutil.copy(source, folder)
    core = harness.require_release(harness.load_native("vasmem._core", Path(copied)))
    if core.features != FEATURES[source.stem]:
        raise SystemExit(f"{source}: a build with {core.features}")
    return core


def one_round(
    built: dict[str, Path], workload: Workload, shuffle: random.Random, folder: Path, turns: int
) -> dict[str, float]:
    """Time of each build's put in units of that of "without", on fresh segments."""
    names = shuffle.sample(list(built), len(built))
    opened = [
        stores.core_store(load(built[name], folder), folder, name, flush=False) for name in names
    ]
    everything = workload.chunks(workload.random.permutation(workload.records))
    for store in opened:
        workloads.fill(store, workload, everything)
    times: dict[str, list[float]] = {name: [] for name in built}
    with workloads.no_collection():
        for _ in range(turns):
            sample = workload.chunks(workload.random.permutation(workload.records)[:CHUNK])
            for store in shuffle.sample(opened, len(opened)):
                taken = workloads.row(store, workload, workloads.OPERATIONS["put in place"], sample)
                times[store.name].append(taken)
    for store in opened:
        store.close()
    return {name: paired.ratios(took, times["without"]).median for name, took in times.items()}


def measure(
    built: dict[str, Path], records: int, directory: Path, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """All rounds, by build. The modules are loaded anew for each: where they and the segments come
    to lie makes more of a difference than the tap."""
    workload, shuffle = Workload(records, seed=2), random.Random(2)
    quotients: dict[str, list[float]] = {name: [] for name in built}
    for number in range(arguments.rounds):
        folder = directory / f"{records}-{number}"
        folder.mkdir()
        for name, one in one_round(built, workload, shuffle, folder, arguments.turns).items():
            quotients[name].append(one)
        shutil.rmtree(folder)
    return quotients


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.tap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="on fresh segments")
    parser.add_argument("--turns", type=int, default=500, help="of 1,000 puts, in each round")
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the segments")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=arguments.directory))
    console = Console(width=120)
    result: dict[str, Any] = {"machine": machine.facts(directory)}
    try:
        built = build_all(directory)
        others = machine.OtherLoad()
        others.look()
        for records in SIZES:
            result[f"{records} records"] = measure(built, records, directory, arguments)
            spreads = {n: Spread.of(q) for n, q in result[f"{records} records"].items()}
            console.print(f"{records} records: put with the tap, off, in units of put without it:")
            console.print(f"  {paired.verdict(spreads['with'], BAR, least=False, digits=3)}")
            console.print(f"  the same build as another copy: {spreads['again'].text(3)}")
        result["cores used by others"] = others.look()
        console.print(f"other processes used {result['cores used by others']:.2f} cores")
    finally:
        shutil.rmtree(directory)
    print(harness.write_result("tap", result))


if __name__ == "__main__":
    main()
