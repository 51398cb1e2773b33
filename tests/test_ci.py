"""The line at the end of a CI run counts what really ran, and is there when everything broke."""

import subprocess
import sys
from pathlib import Path

import pytest

COUNT = Path(__file__).parent.parent / ".ci" / "count.py"

CARGO = (
    "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s"
)
CARGO_FAILED = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out"
PYTEST = "============ 30 passed in 12.34s ============"
PYTEST_FAILED = "\x1b[31m==== 1 failed, 20 passed, 1 error in 62.10s (0:01:02) ====\x1b[0m"
MUTATIONS = "mutations: 21 caught, 0 missed"
MUTATIONS_MISSED = "mutations: 20 caught, 1 missed"


@pytest.mark.parametrize(
    ("lines", "status", "expected"),
    [
        ([CARGO, CARGO, MUTATIONS, PYTEST], 0, "75 passed, 0 failed"),
        ([CARGO, CARGO_FAILED, PYTEST], 2, "45 passed, 2 failed"),
        ([CARGO, PYTEST_FAILED], 2, "32 passed, 2 failed"),
        ([MUTATIONS_MISSED], 2, "20 passed, 1 failed"),
        ([CARGO, "error: lint found something", PYTEST], 2, "42 passed, 1 failed"),
        ([], 0, "0 passed, 1 failed"),
        ([], 2, "0 passed, 1 failed"),
    ],
)
def test_count(lines: list[str], status: int, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(["noise 5 passed", *lines, "3 failed, or so"]))
    run = subprocess.run(
        [sys.executable, COUNT, log, str(status)], capture_output=True, text=True, check=False
    )
    assert run.stdout == expected + "\n"
    assert (run.returncode == 0) == expected.endswith(", 0 failed")
