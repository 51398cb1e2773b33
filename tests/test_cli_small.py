import json
from collections.abc import Callable
from pathlib import Path

from test_cli import printed, run

import vasmem

Make = Callable[..., vasmem.Segment]


def fill(segment: vasmem.Segment) -> None:
    segment.hashmap("users")["ada"] = 1
    segment.set("tags").update([1, "a", (b"x", None)])
    segment.set("raw tags", raw=True).add(b"\xff")
    segment.counter("hits").set(-7)
    segment.queue("jobs", 5).put_many([{"n": 1}, "two", b"3" * 9_000])
    segment.queue("raw jobs", 3, raw=True).put(b"\0")
    segment["jobs"].get()
    segment.lock("busy")


def content(segment: vasmem.Segment) -> dict[str, object]:
    return {
        "tags": set(segment["tags"]),
        "raw tags": set(segment["raw tags"]),
        "hits": segment["hits"].value,
        "jobs": (segment["jobs"].maxsize, segment["jobs"].items()),
        "raw jobs": (segment["raw jobs"].maxsize, segment["raw jobs"].items()),
        "users": dict(segment["users"]),
    }


def test_dump_and_load_lose_nothing(make: Make, tmp_path: Path) -> None:
    segment, copy, file = make("one"), make("two"), tmp_path / "dump.jsonl"
    fill(segment)
    result = run("dump", segment.name, "--output", file, "--json")
    note, summary = result.stderr.splitlines()
    assert "'busy' is left out" in note
    assert json.loads(summary) == {"maps": 1, "records": 1, "others": 5}
    printed("load", copy.name, file)
    assert content(copy) == content(segment)
    assert "busy" not in copy
    assert "is full" not in run("dump", segment.name, "hits").stdout


def test_load_names_the_line_that_is_wrong(make: Make) -> None:
    segment = make()
    segment.queue("jobs", 1)
    for bad, why in (
        ('{"queue": "none", "item": 1}', "no queue"),
        ('{"set": "jobs", "key": 1}', "no set"),
        ('{"set": "tags"}', "a line is"),
        ('{"queue": "jobs", "raw": false, "maxsize": 2}', "maxsize 1"),
        ('{"queue": "jobs", "item": 2}\n{"queue": "jobs", "item": 2}', "no room"),
    ):
        result = run("load", segment.name, stdin=f"{bad}\n", code=2)
        assert "line" in result.stderr
        assert why in result.stderr


def test_commands_show_kinds_and_refuse_what_is_no_map(make: Make) -> None:
    segment = make()
    fill(segment)
    kinds = {found["name"]: found["kind"] for found in printed("info", segment.name)["structures"]}
    assert kinds == {
        "users": "hashmap",
        "tags": "set",
        "raw tags": "set raw",
        "hits": "counter",
        "jobs": "queue",
        "raw jobs": "queue raw",
        "busy": "lock",
    }
    assert "neither a map nor a tree" in run("get", segment.name, "hits", "x", code=2).stderr
