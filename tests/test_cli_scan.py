"""`vasmem scan`: ranges of trees and arrays, entries of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import run

import vasmem

Make = Callable[..., vasmem.Segment]


def lines(*arguments: object) -> list[Any]:
    return [json.loads(line) for line in run("scan", *arguments, "--json").stdout.splitlines()]


def keys(*arguments: object) -> list[Any]:
    return [line["key"] for line in lines(*arguments)]


@pytest.fixture
def tree(segment: vasmem.Segment) -> str:
    tree = segment.btree("tree")
    tree.update({number: number * number for number in range(0, 5000, 2)})
    tree.update({None: "none", "ada": ("x", b"\0"), "b\nc": "d", b"raw": 1, (1, "a"): 2})
    return f"{segment.name}/tree"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--from", 10, "--to", 14], [10, 12, 14]),
        (["--from", 11, "--to", 15], [12, 14]),
        (["--from", 11, "--to", 15, "--reverse"], [14, 12]),
        (["--from", 4990, "--limit", 7], [4990, 4992, 4994, 4996, 4998, "ada", "b\nc"]),
        (["--to", 2], [None, 0, 2]),
        (["--limit", 2], [None, 0]),
        (["--limit", 0], []),
        (["--limit", 2, "--reverse"], [{"$tuple": [1, "a"]}, {"$bytes": "cmF3"}]),
        (["--from", "ada", "--to", '"b"'], ["ada"]),
        (["--from", '{"$tuple": [1, "a"]}'], [{"$tuple": [1, "a"]}]),
        (["--from", -1.5, "--to", 1], [0]),
        (["--from", 14, "--to", 10], []),
        (["--from", 11, "--to", 11], []),
    ],
)
def test_ranges_of_a_tree(tree: str, options: list[object], expected: list[Any]) -> None:
    assert keys(tree, *options) == expected


def test_lines_are_those_of_dump(segment: vasmem.Segment, tree: str) -> None:
    dumped = run("dump", segment.name).stdout.splitlines()
    assert run("scan", tree, "--json").stdout.splitlines() == dumped[1:]


def test_a_table_has_text_as_it_is_and_all_else_as_json(tree: str) -> None:
    result = run("scan", tree, "--from", 4998, "--limit", 3)
    assert [line.strip().split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["key", "value"],
        ["4998", "24980004"],
        ["ada", '{"$tuple": ["x", {"$bytes": "AA=="}]}'],
        ['"b\\nc"', "d"],
    ]
    assert result.stderr == ""


def test_a_table_ends_and_says_so(tree: str) -> None:
    result = run("scan", tree)
    assert len(result.stdout.splitlines()) == 1001
    assert "--limit" in result.stderr
    result = run("scan", tree, "--limit", 2000)
    assert len(result.stdout.splitlines()) == 2001
    assert result.stderr == ""


def test_no_more_is_read_than_is_printed(home: Path) -> None:
    """Most of a large tree is overwritten; whoever reads that is told so."""
    with vasmem.create("large", size="64M") as segment:
        segment.btree("tree").update((number, "x" * 100) for number in range(100_000))
    garbage = b"\xa5" * 100
    with (home / "large").open("r+b") as file:
        content = file.read()
        late = content.find(b"x" * 100, content.find(b"x" * 100) + (1 << 20))
        file.seek(late)
        file.write(content[late:].replace(b"x" * 100, garbage))
    assert keys("large/tree", "--limit", 3) == [0, 1, 2]
    assert keys("large/tree", "--from", 500, "--to", 502) == [500, 501, 502]
    assert "damaged" in run("scan", "large/tree", "--json", code=3).stderr
    run("rm", "large")


def test_raw_trees_take_bytes(segment: vasmem.Segment) -> None:
    segment.btree("raw", raw=True).update({b"1": b"a", b"2": b"b", b"\xff": b"c"})
    assert keys(f"{segment.name}/raw", "--from", "2") == [{"$bytes": "Mg=="}, {"$bytes": "/w=="}]


def test_rows_of_an_array(segment: vasmem.Segment) -> None:
    large = segment.array("large", (100_000, 3), "f8")
    large[:] = np.arange(300_000).reshape(-1, 3)
    large_path, small = f"{segment.name}/large", f"{segment.name}/small"
    assert lines(large_path, "--from", 70_000, "--limit", 2) == [
        {"array": "large", "at": 70_000, "row": [210_000.0, 210_001.0, 210_002.0]},
        {"array": "large", "at": 70_001, "row": [210_003.0, 210_004.0, 210_005.0]},
    ]
    assert [line["at"] for line in lines(large_path)] == list(range(100_000))
    backwards = [line["at"] for line in lines(large_path, "--reverse", "--from", 5)]
    assert backwards == list(range(5, 100_000))[::-1]
    assert [line["at"] for line in lines(large_path, "--from", 9, "--to", 11)] == [9, 10, 11]
    assert lines(large_path, "--from", 100_000) == []
    assert lines(large_path, "--from", 7, "--to", 6) == []
    segment.array("small", 2, [("id", "u4"), ("at", "M8[s]"), ("name", "S2")])[1] = (7, 60, b"ab")
    assert run("scan", small, "--from", 1).stdout.splitlines()[1].strip().split(maxsplit=1) == [
        "1",
        '{"$tuple": [7, {"$datetime": "1970-01-01T00:01:00"}, {"$bytes": "YWI="}]}',
    ]


def test_ranges_of_a_typed_tree(segment: vasmem.Segment) -> None:
    times = segment.btree("times", key="i8", value=[("open", "f4"), ("name", "S2")])
    times.update({number: (number / 2, b"ab") for number in range(-2000, 2000, 2)})
    path = f"{segment.name}/times"
    assert keys(path) == list(range(-2000, 2000, 2))
    assert keys(path, "--from", -3, "--to", 4) == [-2, 0, 2, 4]
    assert keys(path, "--from", -3, "--to", 4, "--reverse") == [4, 2, 0, -2]
    assert keys(path, "--from", 1, "--limit", 2) == [2, 4]
    assert keys(path, "--limit", 1, "--reverse") == [1998]
    assert lines(path, "--from", 7, "--to", 9) == [
        {"map": "times", "key": 8, "value": {"$tuple": [4.0, {"$bytes": "YWI="}]}}
    ]


def test_keys_of_a_typed_tree_are_bounds(segment: vasmem.Segment) -> None:
    names = segment.btree("names", key="S3", value="u1")
    names.update({b"abc": 1, b"abd": 2, b"b": 3})
    path = f"{segment.name}/names"
    assert [line["value"] for line in lines(path, "--from", '{"$bytes": "YWJk"}')] == [2, 3]
    assert "not a scalar of |S3" in run("scan", path, "--from", "abd", code=2).stderr


def test_what_has_no_order_is_printed_as_it_comes(segment: vasmem.Segment) -> None:
    users, ids = segment.hashmap("users"), segment.hashmap("ids", key="u8", value="f8")
    users.update(dict.fromkeys(range(100), "x"))
    ids[7] = 1.5
    segment.set("tags").update(["a", "b"])
    segment.queue("jobs", 5).put_many([1, "two"])
    assert keys(f"{segment.name}/users") == list(users)
    assert keys(f"{segment.name}/users", "--limit", 3) == list(users)[:3]
    assert lines(f"{segment.name}/ids") == [{"map": "ids", "key": 7, "value": 1.5}]
    assert sorted(keys(f"{segment.name}/tags")) == ["a", "b"]
    assert lines(f"{segment.name}/jobs") == [
        {"queue": "jobs", "item": 1},
        {"queue": "jobs", "item": "two"},
    ]
    assert run("scan", f"{segment.name}/jobs").stdout.split() == ["item", "1", "two"]


def test_nothing_there(segment: vasmem.Segment) -> None:
    segment.btree("tree")
    segment.array("array", (0, 3), "f8")
    segment.hashmap("map")
    for structure in ("tree", "array", "map"):
        assert lines(f"{segment.name}/{structure}") == []
        assert run("scan", f"{segment.name}/{structure}").stdout.split() == ["nothing"]


def test_a_path_is_split_behind_the_segment() -> None:
    with vasmem.create("test") as segment:
        segment.btree("tree")["a"] = 1
        segment.btree("by/time")["b"] = 1
    assert keys("test/tree") == keys("shm://test/tree") == ["a"]
    assert keys("test/by/time") == ["b"]
    vasmem.remove("test")


def test_errors_say_what(segment: vasmem.Segment) -> None:
    segment.btree("tree")[1] = 1
    segment.hashmap("users")
    segment.array("rows", 3, "f8")
    segment.set("tags")
    segment.counter("hits")
    segment.lock("busy")
    for structure, options, code, says in (
        ("none", [], 1, "no structure named 'none'"),
        ("", [], 2, "NAME/STRUCT"),
        ("tree", ["--from", "[1]"], 2, "list"),
        ("tree", ["--to", "null"], 2, "null"),
        ("tree", ["--from", '{"$odd": 1}'], 0, ""),
        ("tree", ["--limit", "-1"], 2, "--limit"),
        ("users", ["--from", "1"], 2, "no order"),
        ("users", ["--reverse"], 2, "no order"),
        ("tags", ["--to", "1"], 2, "no order"),
        ("rows", ["--from", "-1"], 2, "no row"),
        ("rows", ["--to", "a"], 2, "no row"),
        ("hits", [], 2, "no entries"),
        ("busy", [], 2, "no entries"),
    ):
        result = run("scan", f"{segment.name}/{structure}", *options, code=code)
        assert says in result.stderr
    assert "NAME/STRUCT" in run("scan", "test", code=2).stderr
    assert "`vasmem ls`" in run("scan", "nowhere/tree", code=1).stderr
