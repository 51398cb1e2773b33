"""The command line, command by command: what it prints, complains and exits with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import vasmem
from vasmem.cli.app import app

Make = Callable[..., vasmem.Segment]
COMMAND = [sys.executable, "-m", "vasmem"]


def run(*arguments: object, code: int = 0, stdin: str | bytes | None = None) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.stderr
    return result


def printed(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_ls_lists_every_backend(make: Make) -> None:
    segment = make(mode=0o640)
    segment.hashmap("users")["ada"] = 1
    (found,) = printed("ls")
    assert found["name"] == segment.name
    assert found["backend"] in segment.url
    assert (found["used"], found["mode"], found["attached"]) == (segment.used, "0640", 1)
    assert found["note"] is None
    head, row = run("ls").stdout.splitlines()
    assert head.split() == ["name", "backend", "size", "used", "mode", "owner", "attached"]
    assert row.split()[0] == segment.name
    assert row.split()[4] == "0640"


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        for copy in (0, 4096):
            file.seek(copy)
            file.write(b"not a segment")


def damage_format(path: Path) -> None:
    with path.open("r+b") as file:
        for copy in (0, 4096):
            file.seek(copy + 8)
            file.write(b"\x63")


def damage_length(path: Path) -> None:
    os.truncate(path, 100)


def lose_lock(path: Path) -> None:
    (lock,) = path.parent.glob(f".{path.name}.*.lock")
    lock.unlink()


@pytest.mark.parametrize("damage", [damage_header, damage_format, damage_length, lose_lock])
def test_what_is_damaged_is_listed_and_removed(damage: Callable[[Path], None], home: Path) -> None:
    with vasmem.create("hurt") as segment:
        segment.hashmap("users")["ada"] = 1
    damage(home / "hurt")
    (found,) = printed("ls")
    assert found["name"] == "hurt"
    assert found["note"]
    assert "hurt" in run("ls").stdout
    assert found["note"] in run("ls").stdout
    run("rm", "hurt")
    assert printed("ls") == []
    assert list(home.iterdir()) == []


def test_a_segment_without_its_lock_file_can_be_saved(home: Path) -> None:
    with vasmem.create("hurt") as segment:
        segment.hashmap("users")["ada"] = 1
    lose_lock(home / "hurt")
    assert "lock file" in printed("ls")[0]["note"]
    assert '"ada"' in run("dump", "hurt").stdout
    assert printed("check", "hurt") == []
    assert "lock file" in run("put", "hurt", "users", "bob", 1, code=3).stderr
    run("rm", "hurt")


def test_rm_removes_what_it_can(home: Path) -> None:
    for name in ("one", "two"):
        vasmem.create(name).close()
    result = run("rm", "one", "nothing", "shm://two", code=1)
    assert "nothing" in result.stderr
    assert list(home.iterdir()) == []
    run("rm", "--force", "nothing")
    assert "cannot name" in run("rm", "a/b", code=2).stderr


def test_info_shows_structures_lanes_and_heap(make: Make) -> None:
    segment = make()
    users = segment.hashmap("users")
    users.update(dict.fromkeys(range(1000), "x" * 100))
    users["large"] = b"x" * 100_000
    segment.hashmap("blobs", raw=True)
    found = printed("info", segment.name)
    structures = {row["name"]: row for row in found["structures"]}
    assert structures["users"]["length"] == 1001
    assert structures["blobs"] == {"name": "blobs", "kind": "hashmap raw", "length": 0, "load": 0}
    assert 0.2 < structures["users"]["load"] < 1
    (lane,) = found["lanes"]
    assert (lane["pid"], lane["alive"]) == (os.getpid(), True)
    assert "pytest" in lane["command"]
    heap = found["heap"]
    parts = ("tables_bytes", "used_bytes", "free_in_classes_bytes", "free_bytes")
    assert sum(heap[part] for part in parts) == segment.size
    assert found["used"] == segment.size - heap["free_bytes"]
    assert 0 <= heap["fragmentation"] <= 1
    assert heap["free_piece_max_bytes"] <= heap["free_bytes"]
    (extent,) = [row for row in heap["classes"] if row["name"] == "extent"]
    assert extent["used_bytes"] >= 100_000
    blocks = sum(row["blocks_used"] for row in heap["classes"] if row["block_bytes"] == 112)
    assert (
        blocks + sum(r["blocks_used"] for r in heap["classes"] if r["block_bytes"] == 128) >= 1000
    )
    text = run("info", segment.name).stdout
    for word in ("users", "1001", "hashmap raw", str(os.getpid()), "extent", "fragmentation"):
        assert word in text


def test_info_tells_alive_by_the_kernel_to_writers(make: Make) -> None:
    segment = make()
    program = f"import vasmem, os; s = vasmem.attach({segment.url!r}); s.hashmap('a')['b'] = 1; "
    dead = subprocess.Popen([sys.executable, "-c", program + "os.kill(os.getpid(), 9)"])
    assert dead.wait() == -signal.SIGKILL
    assert [(lane["pid"], lane["alive"]) for lane in segment.info()["lanes"]] == [(dead.pid, False)]
    assert [lane["alive"] for lane in printed("info", segment.name)["lanes"]] == [False]
    with vasmem.attach(segment.url, readonly=True) as reader:
        assert [lane["alive"] for lane in reader.info()["lanes"]] == [None]
    segment.hashmap("a")["c"] = 1
    assert [(lane["pid"], lane["alive"]) for lane in segment.info()["lanes"]] == [
        (os.getpid(), True)
    ]


def test_get_put_del_keys(make: Make) -> None:
    segment = make()
    name = segment.name
    users = segment.hashmap("users")
    for key, value, kept in (
        ("ada", '{"balance": 10}', {"balance": 10}),
        ("text", "plain text", "plain text"),
        ("quoted", '"12"', "12"),
        ("number", "12", 12),
        ("tuple", '{"$tuple": [1, {"$bytes": "AAE="}]}', (1, b"\0\1")),
    ):
        run("put", name, "users", key, value)
        assert users[key] == kept
        assert type(users[key]) is type(kept)
    assert run("get", name, "users", "text").stdout == "plain text\n"
    assert printed("get", name, "users", "text") == "plain text"
    assert json.loads(run("get", name, "users", "ada").stdout) == {"balance": 10}
    run("put", name, "users", "12", "true")
    assert users[12] is True
    assert run("get", name, "users", '{"$int": "0xc"}').stdout == "true\n"
    lines = run("keys", name, "users").stdout.splitlines()
    assert sorted(lines) == sorted(["ada", "text", "quoted", "number", "tuple", "12"])
    assert len(run("keys", name, "users", "--limit", 2).stdout.splitlines()) == 2
    run("del", name, "users", "ada")
    assert "ada" not in users
    run("put", name, "new", "a", "1")
    assert dict(segment["new"]) == {"a": 1}


def test_raw_maps_take_bytes(make: Make) -> None:
    segment = make()
    run("put", segment.name, "blobs", "k", "12", "--raw")
    assert segment["blobs"].raw
    run("put", segment.name, "blobs", "j", "34")
    assert dict(segment["blobs"]) == {b"k": b"12", b"j": b"34"}
    segment["blobs"][b"k"] = b"\0\xff\n"
    assert run("get", segment.name, "blobs", "k").stdout_bytes == b"\0\xff\n"
    assert printed("get", segment.name, "blobs", "k") == {"$bytes": "AP8K"}
    run("del", segment.name, "blobs", "j")
    assert [
        json.loads(line) for line in run("keys", segment.name, "blobs").stdout.splitlines()
    ] == [{"$bytes": "aw=="}]
    segment.hashmap("users")[b"k"] = 1
    assert run("get", segment.name, "users", "k", "--raw").stdout == "1\n"


def test_errors_say_what_and_exit_as_promised(make: Make) -> None:
    segment = make()
    name = segment.name
    segment.hashmap("users")["ada"] = 1
    for arguments, code, says in (
        (("get", name, "users", "bob"), 1, "no key bob"),
        (("del", name, "users", "bob"), 1, "no key bob"),
        (("get", name, "user", "bob"), 1, "no map named 'user'"),
        (("dump", name, "user"), 1, "no map named 'user'"),
        (("info", f"{name}2"), 1, "`vasmem ls`"),
        (("get", name, "users", "[1]"), 2, "list"),
        (("info", "a b"), 2, "cannot name a"),
        (("info", "nowhere://a"), 3, "no backend"),
        (("info",), 2, "Missing argument"),
        (("keys", name, "users", "--limit", "x"), 2, "--limit"),
        (("nonsense",), 2, "nonsense"),
    ):
        result = run(*arguments, code=code)
        assert result.stdout == ""
        assert says in result.stderr


def test_check_exits_1_with_what_is_broken(home: Path) -> None:
    with vasmem.create("sound") as segment:
        segment.hashmap("users").update(dict.fromkeys(range(100)))
    assert run("check", "sound").stdout == "nothing is broken\n"
    assert printed("check", "sound", "--readonly") == []
    with (home / "sound").open("r+b") as file:
        # A bit in the first extent map: a granule is taken that no descriptor knows of.
        file.seek((16 << 20) + 8 + 7)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] | 0x80]))
    result = run("check", "sound", "--json", code=1)
    (violation, *_) = json.loads(result.stdout)
    assert set(violation) == {"invariant", "place", "text"}
    assert violation["text"] in run("check", "sound", code=1).stdout
    run("rm", "sound")


def test_dump_and_load_lose_nothing(make: Make, url: Callable[[str], str], tmp_path: Path) -> None:
    segment = make()
    users = segment.hashmap("users")
    users.update({number: (number, b"x", {1: {2}}) for number in range(2500)})
    users[("a", None, 1.5)] = np.arange(3)
    segment.hashmap("blobs", raw=True)[b"\0"] = b"\xff"
    segment.hashmap("empty")
    file = tmp_path / "copy.jsonl"
    result = run("dump", segment.name, "--output", file, "--json")
    assert json.loads(result.stderr) == {"maps": 3, "records": 2502}
    assert run("dump", segment.name).stdout_bytes == file.read_bytes()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {"map": "empty", "kind": "hashmap"} in lines
    copy = make("copy")
    copy.hashmap("users")["stays"] = 1
    assert printed("load", copy.name, file) == {"maps": 3, "records": 2502}
    assert sorted(copy) == ["blobs", "empty", "users"]
    assert dict(copy["blobs"]) == {b"\0": b"\xff"}
    assert copy["users"][7] == (7, b"x", {1: {2}})
    assert copy["users"][("a", None, 1.5)].tolist() == [0, 1, 2]
    assert len(copy["users"]) == 2502
    one = run("dump", segment.name, "blobs").stdout
    assert len(one.splitlines()) == 2
    run("load", url("made"), "--max-size", "64M", stdin=one)
    with vasmem.attach(url("made")) as made:
        assert made.max_size == 64 << 20
        assert dict(made["blobs"]) == {b"\0": b"\xff"}
    vasmem.remove(url("made"))


def test_trees_keep_their_kind_and_order(make: Make) -> None:
    segment, copy = make(), make("copy")
    segment.btree("by time").update({(2026, day): f"day {day}" for day in range(1000)})
    segment.btree("blobs", raw=True)[b"\xff"] = b"\0"
    run("put", segment.name, "new", "b", "2", "--btree")
    run("put", segment.name, "new", "a", "1")
    assert run("keys", segment.name, "new").stdout == "a\nb\n"
    assert run("get", segment.name, "new", "b").stdout == "2\n"
    run("load", copy.name, stdin=run("dump", segment.name).stdout)
    for name in segment:
        assert type(copy[name]) is vasmem.BTree
        assert list(copy[name].items()) == list(segment[name].items())
    kinds = {row["name"]: row["kind"] for row in printed("info", copy.name)["structures"]}
    assert kinds == {"by time": "btree", "blobs": "btree raw", "new": "btree"}


def test_load_names_the_line_that_is_wrong(make: Make) -> None:
    segment = make()
    good = '{"map": "users", "key": 1, "value": 2}\n'
    for bad in ("nonsense", "[]", '{"map": "users", "key": 1}', '{"map": "a", "kind": "tree"}'):
        segment.hashmap("users").clear()
        result = run("load", segment.name, stdin=f"{good}\n{bad}\n", code=2)
        assert "standard input, line 3" in result.stderr
        assert dict(segment["users"]) == {1: 2}
    result = run("load", segment.name, stdin='{"map": "users", "kind": "hashmap raw"}', code=2)
    assert "users" in result.stderr
    assert "No such file" in run("load", segment.name, "/nowhere.jsonl", code=3).stderr


def test_dump_that_fails_leaves_no_file(make: Make, tmp_path: Path) -> None:
    segment = make()
    run("dump", segment.name, "nothing", "--output", tmp_path / "a", code=1)
    assert list(tmp_path.iterdir()) == []


def test_dump_while_others_write(make: Make) -> None:
    segment = make()
    segment.hashmap("users").update({key: [key, 0] for key in range(3000)})
    program = f"""
import itertools, vasmem
users = vasmem.attach({segment.url!r})["users"]
print(flush=True)
for i in itertools.count():
    users[i % 3000] = [i % 3000, i]
    users[("more", i % 5000)] = [("more", i % 5000), i]
    del users[("more", (i + 2500) % 5000)]
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        for _ in range(3):
            lines = run("dump", segment.name).stdout.splitlines()[1:]
            records = [json.loads(line) for line in lines]
            assert all(record["key"] == record["value"][0] for record in records)
            plain = [record["key"] for record in records if type(record["key"]) is int]
            assert sorted(plain) == list(range(3000))
    finally:
        writer.kill()
        writer.communicate()


def test_names_do_not_drive_the_terminal(make: Make) -> None:
    segment = make()
    segment.hashmap("a\x1b[31m\nb")["k"] = 1
    text = run("info", segment.name).stdout
    assert "\x1b" not in text
    assert r"a\x1b[31m\nb" in text
    assert "\x1b" not in run("get", segment.name, "\x1b[31m", "k", code=1).stderr


def test_as_a_program(make: Make) -> None:
    segment = make()
    segment.hashmap("users")["ada"] = 1
    for command in (COMMAND, [str(Path(sys.executable).parent / "vasmem")]):
        done = subprocess.run(
            [*command, "get", segment.name, "users", "ada"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
        done = subprocess.run(
            [*command, "get", segment.name, "users", "bob"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"vasmem: users in {segment.name} has no key bob\n"


def test_a_reader_that_stops_is_no_error(make: Make) -> None:
    segment = make()
    segment.hashmap("users").update(dict.fromkeys(range(5000), "x" * 100))
    with subprocess.Popen(
        [*COMMAND, "dump", segment.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as dump:
        assert dump.stdout is not None
        dump.stdout.readline()
        dump.stdout.close()
        assert dump.stderr is not None
        assert dump.stderr.read() == b""


def test_interrupted_exits_130(make: Make) -> None:
    segment = make()
    with subprocess.Popen(
        [*COMMAND, "load", segment.name], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as load:
        while load.pid not in segment.info()["writers"]:
            assert load.stdin is not None
            load.stdin.write(b'{"map": "a", "kind": "hashmap"}\n' * 100)
            load.stdin.flush()
            time.sleep(0.01)
        load.send_signal(signal.SIGINT)
        assert load.stderr is not None
        assert load.stderr.read() == b"vasmem: interrupted\n"
        assert load.wait() == 130


def test_completes_commands_segments_and_maps(make: Make) -> None:
    segment = make("orders")
    segment.hashmap("users")
    segment.hashmap("blobs")

    def completed(line: str) -> list[str]:
        environment = {
            **os.environ,
            "_VASMEM_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert completed("vasmem in") == ["info"]
    assert completed("vasmem info ") == [segment.name]
    assert completed("vasmem rm ") == [segment.name]
    assert completed(f"vasmem get {segment.name} u") == ["users"]
    assert sorted(completed(f"vasmem get {segment.name} ")) == ["blobs", "users"]
    assert completed("vasmem get nothing u") == []


def test_the_core_knows_nothing_of_it(tmp_path: Path) -> None:
    program = "import sys, vasmem; print([m for m in sys.modules if m in ('typer', 'rich')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')")
    done = subprocess.run(
        COMMAND,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "vasmem: the command line needs typer; install it: pip install 'vasmem[cli]'\n"
    )
