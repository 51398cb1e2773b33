"""The line at the end of a CI run counts what really ran, and is there when everything broke."""

import subprocess
import sys
from pathlib import Path

import pytest

COUNT = Path(__file__).parent.parent / ".ci" / "count.py"

CARGO = (
    "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s"
)
CARGO_EMPTY = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
CARGO_FAILED = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out"
PYTEST = "============ 30 passed in 12.34s ============"
PYTEST_GUEST = "============ 2 passed in 112.34s (0:01:52) ============"
PYTEST_SKIPPED = "============ 2 skipped in 1.34s ============"
PYTEST_FAILED = "\x1b[31m==== 1 failed, 20 passed, 1 error in 62.10s (0:01:02) ====\x1b[0m"
MUTATIONS = "mutations: 21 caught, 0 missed"
MUTATIONS_MISSED = "mutations: 20 caught, 1 missed"
FUZZ = "fuzz segments: 60000 inputs, 0 failures, 812 Corrupted, 3 Timeout"
FUZZ_EMPTY = "fuzz records: 0 inputs, 0 failures, no errors"
FUZZ_FAILED = "fuzz records: 60000 inputs, 2 failures, 812 Corrupted"
CRASH = "crash: 2000000 distinct states, 900000 of second crashes, 0 failures"
CRASH_EMPTY = "crash: 0 distinct states, 0 of second crashes, 0 failures"
CRASH_FAILED = "crash: 2000000 distinct states, 900000 of second crashes, 3 failures"
GOOD = {
    "rust": [CARGO, CARGO_EMPTY],
    "loom": [CARGO],
    "mutations": [MUTATIONS],
    "lab": [CRASH],
    "fuzz": [FUZZ],
    "python": [PYTEST],
    "guest": [PYTEST_GUEST],
}


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ({}, 0, "79 passed, 0 failed"),
        ({"rust": [CARGO, CARGO_FAILED]}, 2, "82 passed, 2 failed"),
        ({"python": [PYTEST_FAILED]}, 2, "69 passed, 2 failed"),
        ({"mutations": [MUTATIONS_MISSED]}, 2, "78 passed, 1 failed"),
        ({"lint": ["error: lint found something"]}, 2, "79 passed, 1 failed"),
        ({"loom": [CARGO_EMPTY]}, 0, "67 passed, 1 failed"),
        ({"mutations": []}, 0, "58 passed, 1 failed"),
        ({"fuzz": [FUZZ, FUZZ_FAILED]}, 2, "79 passed, 2 failed"),
        ({"fuzz": [FUZZ_EMPTY]}, 0, "78 passed, 1 failed"),
        ({"lab": [CRASH_EMPTY]}, 1, "78 passed, 1 failed"),
        ({"lab": [CRASH_FAILED]}, 1, "78 passed, 3 failed"),
        ({"guest": [PYTEST_SKIPPED]}, 0, "77 passed, 1 failed"),
        (dict.fromkeys(GOOD, ()), 0, "0 passed, 1 failed"),
        (dict.fromkeys(GOOD, ()), 2, "0 passed, 1 failed"),
    ],
)
def test_count(changes: dict[str, list[str]], status: int, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = ["noise 5 passed"]
    for stage, results in {**GOOD, **changes}.items():
        lines += [f"== {stage}", *results, "3 failed, or so"]
    log.write_text("\n".join(lines))
    run = subprocess.run(
        [sys.executable, COUNT, log, str(status)], capture_output=True, text=True, check=False
    )
    assert run.stdout.splitlines()[-1] == expected
    assert (run.returncode == 0) == expected.endswith(", 0 failed")


def test_what_failed_is_named_at_the_end(tmp_path: Path) -> None:
    failures = [
        "FAILED tests/test_a.py::test_b - assert 1 == 2",
        "make: *** [Makefile:9: rust] Error 1",
    ]
    log = tmp_path / "log"
    log.write_text("\n".join(["== python", *failures, PYTEST_FAILED, "== guest", *["noise"] * 99]))
    run = subprocess.run(
        [sys.executable, COUNT, log, "2"], capture_output=True, text=True, check=False
    )
    assert run.stdout.splitlines()[:2] == failures
