"""Files that are no segments, and segments of which somebody cut bytes off."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

Url = Callable[[str], str]

TRUNCATED = """
import os, sys
import vasmem

url, path, percent = sys.argv[1:]
segment = vasmem.create(url, max_size="1G")
users = segment.hashmap("users")
for number in range(20_000):
    users[number] = "x" * 100
# Of what is in use: nobody would miss the rest.
used = os.stat(path).st_size - (segment.size - segment.used)
size = used * int(percent) // 100
os.truncate(path, size // 4096 * 4096)

seen = 0
try:
    for seen in range(20_000):
        assert users.get(seen) == "x" * 100, f"key {seen} is said to be gone"
except vasmem.SegmentCorrupted:
    pass
else:
    raise SystemExit("all values were read")

def replace_in_a_transaction():
    with segment.transaction():
        users[0] = "y"

operations = [
    lambda: users[seen],
    lambda: users.get("none"),
    lambda: "none" in users,
    lambda: users.__setitem__("none", 1),
    lambda: users.__delitem__(seen),
    lambda: len(users),
    lambda: list(users),
    lambda: list(segment),
    replace_in_a_transaction,
    segment.info,
    segment.sync,
]
raised = 0
for operation in operations:
    try:
        operation()
    except vasmem.SegmentCorrupted:
        raised += 1
assert 12 in {number for number, place, text in segment.check()}
print(raised, "of", len(operations), "raised")
segment.close()
"""


@pytest.mark.parametrize("content", [b"", b"x", bytes(4096), b"\xff" * 100_000])
def test_a_file_that_is_no_segment(url: Url, home: Path, content: bytes) -> None:
    vasmem.create(url("test")).close()
    path = home / "test"
    path.write_bytes(content)
    for readonly in (True, False):
        with pytest.raises((vasmem.FormatMismatch, vasmem.SegmentCorrupted), match="test"):
            vasmem.attach(url("test"), readonly=readonly)
    vasmem.remove(url("test"))


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 99])
def test_a_truncated_segment_raises_and_does_not_crash(url: Url, home: Path, percent: int) -> None:
    """Where bytes are gone there are zeros, and these must not pass for "no such key"."""
    run = subprocess.run(
        [sys.executable, "-c", TRUNCATED, url("test"), str(home / "test"), str(percent)],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "11 of 11 raised\n", run.stderr
    vasmem.remove(url("test"))
