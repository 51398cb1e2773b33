"""Add up the results in the log of `make test`; the last line is `N passed, N failed`.

What failed is named before it, since a log is often read from its end. A stage that should have
run tests and passed none is a failure, too.
"""

import re
import sys
from pathlib import Path

CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;")
PYTEST = re.compile(r"^=+ (.*) in [\d.]+s.* =+$")
MUTATIONS = re.compile(r"^mutations: (\d+) caught, (\d+) missed$")
FUZZ = re.compile(r"^fuzz \w+: (\d+) inputs, (\d+) failures\b")
CRASH = re.compile(r"^crash: (\d+) distinct states, \d+ of second crashes, (\d+) failures$")
# What cargo and pytest say of a test, and how it is repeated; `make` names the stage.
FAILURE = re.compile(
    r"test \S+ \.\.\. FAILED|thread '.*' panicked|"
    r"(FAILED|ERROR) \S+::|E  +\S|replay: |make: \*\*\*|error[\[:]"
)
FAILURES_MAX = 60
STAGE = re.compile(r"^== (\w+)$")
STAGES = ("rust", "loom", "mutations", "lab", "fuzz", "python", "guest")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def count(line: str) -> tuple[int, int]:
    """What one line of the log adds: (passed, failed)."""
    for pattern in (CARGO, MUTATIONS):
        if match := pattern.match(line):
            return int(match[1]), int(match[2])
    if match := FUZZ.match(line) or CRASH.match(line):
        failures = int(match[2])
        return int(int(match[1]) > 0 and failures == 0), failures
    if match := PYTEST.match(line):
        words = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", match[1])}
        failed = words.get("failed", 0) + words.get("error", 0) + words.get("errors", 0)
        return words.get("passed", 0), failed
    return 0, 0


def main(log: str, status: str) -> int:
    """Print the sums; a stage that broke without a count of its own is one failure."""
    lines = ESCAPES.sub("", Path(log).read_text(errors="replace")).splitlines()
    passed_by_stage, failed, stage = dict.fromkeys(STAGES, 0), 0, ""
    for line in lines:
        if match := STAGE.match(line):
            stage = match[1]
        line_passed, line_failed = count(line)
        failed += line_failed
        if stage in passed_by_stage:
            passed_by_stage[stage] += line_passed
    for line in list(dict.fromkeys(filter(FAILURE.match, lines)))[:FAILURES_MAX]:
        print(line[:200])
    empty = [stage for stage, passed in passed_by_stage.items() if passed == 0]
    if empty:
        print(f"no test passed in: {', '.join(empty)}")
    passed = sum(passed_by_stage.values())
    if failed == 0 and (status != "0" or empty):
        failed = 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
