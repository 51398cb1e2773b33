"""Arrays on the command line: dumped and loaded without loss, listed by `info`."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vasmem

Make = Callable[..., vasmem.Segment]


def run(*arguments: object, stdin: str | None = None, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "vasmem", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == code, done.stderr
    return done


def test_dump_and_load(make: Make) -> None:
    old, new = make("old"), make("new")
    records = [("id", "u4"), ("at", ">f8", (2,)), ("name", "U3")]
    old.array("prices", (100_000, 3), "f8")[:] = np.arange(300_000).reshape(-1, 3)
    old.array("records", 5, records)["id"] = np.arange(5)
    old.array("empty", (0, 7), "M8[ns]")
    old.hashmap("map")["key"] = 1
    dumped = run("dump", old.url).stdout
    new.array("prices", (200_000, 3), "f8")[:] = 7
    result = run("load", new.url, "--json", stdin=dumped)
    assert json.loads(result.stdout)["maps"] == 1
    run("load", new.url, stdin=dumped)
    for name in ("prices", "records", "empty"):
        before, after = old.array(name), new.array(name)
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        assert before.read().tobytes() == after.read().tobytes()
    assert new["map"]["key"] == 1
    assert run("dump", new.url).stdout == dumped
    facts = {
        row["name"]: row for row in json.loads(run("info", new.url, "--json").stdout)["structures"]
    }
    assert (facts["prices"]["kind"], facts["prices"]["length"]) == ("array", 100_000)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"array": "new", "at": 0, "rows": {"$bytes": ""}}', "no array"),
        ('{"array": "there", "at": 2, "rows": {"$bytes": "AAAAAAAAAAA="}}', "which has 2"),
        ('{"array": "there", "at": 0, "rows": {"$bytes": "AA=="}}', "no rows"),
        ('{"array": "there", "at": -1, "rows": {"$bytes": ""}}', "no rows"),
        ('{"array": "there", "dtype": "<f4", "shape": [2]}', "float64, not float32"),
        ('{"array": "new", "dtype": "O", "shape": [2]}', "dtype"),
        ('{"array": "new", "dtype": 7, "shape": [2]}', "dtype"),
        ('{"array": "new", "dtype": "<f4", "shape": 2}', "shape"),
        ('{"array": "new", "dtype": "<f4", "shape": []}', "shape"),
        ('{"array": "new"}', "dtype and shape"),
    ],
)
def test_load_refuses_what_is_no_array(segment: vasmem.Segment, line: str, says: str) -> None:
    segment.array("there", 2, "f8")
    assert says in run("load", segment.url, stdin=line, code=2).stderr
    assert segment.array("there").read().tolist() == [0, 0]
