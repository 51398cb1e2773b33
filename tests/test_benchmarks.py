"""Every benchmark runs and is drawn, with sizes so small that its figures mean nothing."""

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
    "btree": (*TINY, "--operations", "1000"),
    "flushes": ("--records", "5000", "--rounds", "2", "--largest-power", "3"),
    "huge": (*TINY, "--operations", "1000"),
    "paired": (*TINY, "--operations", "1000"),
    # Of so many stops, some meet a lock.
    "readers": ("--stops", "100", "--kills", "1"),
    "space": ("--records", "2000"),
    "startup": ("--rounds", "2"),
    "together": (*TINY, "--seconds", "0.05"),
    "transactions": (*TINY, "--transactions", "200"),
    "typed": (*TINY, "--batch", "1000"),
    "vas": ("--rounds", "1"),
    "guard": ("--rounds", "1"),
    "ycsb": (*TINY, "--operations", "2000"),
}
DRAWN = ("attach", "paired", "space", "together", "ycsb")


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


@pytest.mark.parametrize(
    "module",
    ["btree", "flushes", "guard", "huge", "readers", "startup", "transactions", "typed", "vas"],
)
def test_it_runs_and_writes_its_result(module: str, tmp_path: Path) -> None:
    run(module, *RUNS[module], folder=tmp_path)
    (result,) = (tmp_path / "results").glob(f"{module}-*.json")
    assert json.loads(result.read_text())


def test_pytest_benchmark_runs_the_operations() -> None:
    options = ["-o", "python_files=bench_*.py", "-p", "no:cacheprovider", "--records", "4000"]
    command = [Path(sys.executable).parent / "pytest", "benchmarks", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_results_become_pictures_and_a_table(tmp_path: Path) -> None:
    for module in DRAWN:
        run(module, *RUNS[module], folder=tmp_path)
    run("plots", folder=tmp_path)
    for module in DRAWN:
        picture = (tmp_path / "results" / f"{module}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nbelow\n")
    run("speed_table", str(page), folder=tmp_path)
    lines = page.read_text().splitlines()
    assert lines[:2] + lines[-2:] == [
        "above",
        "<!-- speed:begin -->",
        "<!-- speed:end -->",
        "below",
    ]
    assert "old" not in lines
    for row in ("`m[key]`", "YCSB A, 50% reads", "two reader processes", "memory per entry"):
        assert any(line.startswith(f"| {row}") for line in lines), row


def test_the_readme_has_room_for_the_table(tmp_path: Path) -> None:
    run("paired", *RUNS["paired"], folder=tmp_path)
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    run("speed_table", str(page), folder=tmp_path)
    assert "10,000 random keys of 16 bytes" in page.read_text()


def test_keys_are_chosen_as_ycsb_chooses_them(tmp_path: Path) -> None:
    """The first keys of every YCSB load, and the share of the most popular one: 1 in 26.47."""
    program = """
import numpy as np
from vasmem.bench import zipfian
print(*zipfian.scrambled(np.arange(2, dtype=np.uint64)))
drawn = zipfian.draw(np.random.default_rng(1), 1000, 100_000)
counts = np.bincount(drawn, minlength=1000)
print(counts.argmax(), 6284781860667377211 % 1000, counts.max(), len(counts))
"""
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    hashes, popular = done.stdout.splitlines()
    assert hashes == "6284781860667377211 8517097267634966620"
    most, expected, count, records = map(int, popular.split())
    assert (most, records) == (expected, 1000)
    assert 3_600 < count < 4_200
