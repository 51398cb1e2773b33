"""What the recording tap costs a `put` when nothing records.

`python -m benchmarks.tap --without OTHER/_core.so` compares the installed core with one that was
built without the tap. Both live in this process, next to a second copy of the installed core that
shows what the comparison itself makes of two equal builds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from . import harness, paired, stores
from .harness import CHUNK, Spread, Workload

BAR = 1.02
# All in cache, where a branch weighs most, and what does not fit there.
SIZES = (1_000, 100_000)


def measure(cores: dict[str, Any], records: int, turns: int, directory: Path) -> dict[str, Spread]:
    """Time of each core's put in units of that of "without": a spread over fresh segments."""
    workload, shuffle = Workload(records, seed=2), random.Random(2)
    quotients: dict[str, list[float]] = {name: [] for name in cores}
    for segment in range(7):
        folder = directory / f"{records}-{segment}"
        folder.mkdir()
        opened = [
            stores.core_store(core, folder, name, flush=False) for name, core in cores.items()
        ]
        everything = workload.chunks(workload.random.permutation(records))
        for store in opened:
            harness.fill(store, workload, everything)
        turn_times: dict[str, list[float]] = {name: [] for name in cores}
        with harness.no_collection():
            for _ in range(turns):
                sample = workload.chunks(workload.random.permutation(records)[:CHUNK])
                for store in shuffle.sample(opened, len(opened)):
                    taken = harness.row(store, workload, harness.OPERATIONS["put in place"], sample)
                    turn_times[store.name].append(taken)
        for name, times in turn_times.items():
            quotients[name].append(paired.ratios(times, turn_times["without"]).median)
        for store in opened:
            store.close()
        shutil.rmtree(folder)
    return {name: Spread.of(values) for name, values in quotients.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.tap", description=__doc__)
    parser.add_argument("--without", type=Path, required=True, help="_core.so without the tap")
    parser.add_argument("--turns", type=int, default=1000, help="for each of 7 segments")
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the segments")
    arguments = parser.parse_args()
    core = harness.installed_vasmem()._core

    if Path(core.__file__).read_bytes() == arguments.without.read_bytes():
        raise SystemExit("both cores are the same build: nothing to compare")
    directory = Path(tempfile.mkdtemp(prefix="vasmem-benchmark-", dir=arguments.directory))
    console = Console(width=120)
    result: dict[str, Any] = {"machine": harness.machine(directory)}
    try:
        copies = {"again": Path(core.__file__), "without": arguments.without}
        cores = {"with": core}
        for name, source in copies.items():
            # Under a path of its own, so that it is loaded anew, with statics of its own.
            path = Path(shutil.copy(source, directory / f"{name}.so"))
            cores[name] = harness.require_release(harness.load_native("vasmem._core", path))
        for records in SIZES:
            spreads = measure(cores, records, arguments.turns, directory)
            result[f"{records} records"] = spreads
            figure = paired.verdict(spreads["with"], BAR, least=False)
            console.print(f"{records} records: put with the tap, off, in units of put without it:")
            console.print(f"  {figure}; the same build again: {spreads['again'].text()}")
    finally:
        shutil.rmtree(directory)
    print(harness.write_result("tap", result))


if __name__ == "__main__":
    main()
