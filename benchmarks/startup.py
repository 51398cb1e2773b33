"""What `import vasmem` costs a new process, beside `import numpy` and nothing.

`python -m benchmarks.startup` starts processes by turns. The time is the process's own, around its
import, so that the start of the interpreter is not in it; "whole" has that too.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from vasmem.bench import machine
from vasmem.bench.workload import Spread

from . import harness

BAR_MS = 60
STATEMENTS = {"nothing": "pass", "numpy": "import numpy", "vasmem": "import vasmem"}


def start(statement: str) -> tuple[float, float]:
    """Milliseconds of the statement and of the whole process."""
    code = (
        f"import time; t = time.perf_counter_ns(); {statement}\nprint(time.perf_counter_ns() - t)"
    )
    before = time.perf_counter_ns()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6, (time.perf_counter_ns() - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in STATEMENTS}
    for _ in range(arguments.rounds):
        for name in random.sample(list(STATEMENTS), len(STATEMENTS)):
            taken[name].append(start(STATEMENTS[name]))
    facts = machine.facts(harness.SEGMENTS)
    result: dict[str, Any] = {"machine": facts, "arguments": vars(arguments), "ms": taken}
    table = Table(title=f"import, ms: median (lowest..highest); bar for vasmem {BAR_MS}")
    for column in ("import", "itself", "whole process", "verdict"):
        table.add_column(column)
    for name, pairs in taken.items():
        own, whole = Spread.of([pair[0] for pair in pairs]), Spread.of([pair[1] for pair in pairs])
        word = ("reached" if own.median < BAR_MS else "missed") if name == "vasmem" else ""
        table.add_row(name, own.text(1), whole.text(1), word)
    Console(width=100).print(table)
    print(harness.write_result("startup", result))


if __name__ == "__main__":
    main()
