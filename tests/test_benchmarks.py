"""Every benchmark runs, with sizes so small that its figures mean nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = ("--records", "10000", "--rounds", "2")
RUNS = {
    "attach": ("--largest-power", "3", "--rounds", "2"),
    "huge": (*TINY, "--operations", "1000"),
    "paired": (*TINY, "--operations", "1000"),
    # Of so many stops, some meet a lock.
    "readers": ("--stops", "100", "--kills", "1"),
    "space": ("--records", "2000"),
    "startup": ("--rounds", "2"),
    "together": (*TINY, "--seconds", "0.05"),
    "ycsb": (*TINY, "--operations", "2000"),
}


def run(module: str, *words: str, folder: Path) -> str:
    """Runs a benchmark as its README says, except that only `benchmarks` is a source folder."""
    if not (folder / "benchmarks").exists():
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "VASMEM_BENCHMARK_RESULTS": str(folder / "results")},
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("module", RUNS)
def test_it_runs_and_writes_its_result(module: str, tmp_path: Path) -> None:
    run(module, *RUNS[module], folder=tmp_path)
    (result,) = (tmp_path / "results").glob(f"{module}-*.json")
    assert json.loads(result.read_text())
