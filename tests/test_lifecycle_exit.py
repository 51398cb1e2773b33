"""An interpreter that ends while its daemon threads are inside calls ends as if they were not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vasmem

PROGRAM = Path(__file__).parent / "programs" / "daemons.py"
EXITS = int(os.environ.get("VASMEM_EXITS", "3"))
KINDS = [
    "get",
    "put",
    "put_many",
    "get_many",
    "delete_many",
    "transaction",
    "wait",
    "iterate",
    "clear",
    "check",
]


@pytest.mark.parametrize("kind", KINDS)
def test_daemon_threads_inside_calls(segment: vasmem.Segment, kind: str) -> None:
    """Each run ends at a random moment. VASMEM_EXITS sets how many there are of each kind."""
    segment.hashmap("users")
    segment.hashmap("raw", raw=True)[b"1"] = b"x"
    for _ in range(EXITS):
        run = subprocess.run(
            [sys.executable, PROGRAM, segment.url, kind],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            timeout=60,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert segment.check() == []
    users = segment["users"]
    assert users.get("m") == users.get("n")
