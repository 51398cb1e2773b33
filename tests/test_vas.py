"""VASes as named sets of segments: operations, permissions, what kills leave, the command line."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import vasmem


def test_is_a_mapping_of_its_segments(trading: vasmem.Vas) -> None:
    assert dict(trading) == {"orders": "read-write", "prices": "read-only"}
    assert len(trading) == 2
    assert "orders" in trading
    assert "nothing" not in trading
    trading.add("prices")
    assert trading["prices"] == "read-write"
    trading.discard("prices")
    trading.discard("prices")
    assert list(trading) == ["orders"]


def test_is_found_by_name(trading: vasmem.Vas) -> None:
    with vasmem.Vas.attach(trading.name) as other:
        assert dict(other) == dict(trading)
        other.discard("orders")
        assert list(trading) == ["prices"]
    (found,) = vasmem.vases()
    assert (found.name, found.mode) == (trading.name, 0o600)
    assert found.segments == {"prices": "read-only"}
    with vasmem.Vas.open(trading.name) as same:
        assert list(same) == ["prices"]


def test_errors_say_what_is_wrong(trading: vasmem.Vas, scheme: str) -> None:
    with pytest.raises(vasmem.SegmentExists, match="trading"):
        vasmem.Vas.create(trading.name)
    for action in (vasmem.Vas.attach, vasmem.Vas.remove):
        with pytest.raises(vasmem.SegmentNotFound, match="no VAS is named"):
            action(f"{scheme}nothing")
    with pytest.raises(vasmem.SegmentNotFound):
        trading.add("nothing")
    with pytest.raises(ValueError, match="mode"):
        trading.chmod(0o777)
    with pytest.raises(ValueError, match="cannot name a VAS"):
        vasmem.Vas.create("file:///tmp/trading")
    for name in ("", "a/b", "x" * 300):
        with pytest.raises(ValueError, match="name"):
            vasmem.Vas.create(f"{scheme}{name}")


def test_who_reads_changes_nothing(trading: vasmem.Vas) -> None:
    with vasmem.Vas.attach(trading.name, readonly=True) as reader:
        assert reader.readonly
        for change in (reader.add, reader.discard):
            with pytest.raises(vasmem.PermissionDenied, match="reading only"):
                change("orders")
        with reader.switch() as space, pytest.raises(vasmem.PermissionDenied):
            space["orders"].hashmap("users")


def test_attributes(trading: vasmem.Vas) -> None:
    trading.chmod(0o640)
    assert trading.mode == 0o640
    assert vasmem.vases()[0].mode == 0o640
    trading.chown()
    assert trading.owner == vasmem.vases()[0].owner


def test_segments_come_and_go_while_others_are_inside(trading: vasmem.Vas) -> None:
    with vasmem.Vas.attach(trading.name) as other, other.switch() as space:
        space["orders"].hashmap("users")["ada"] = 1
        trading.discard("orders")
        assert list(space) == ["prices"]
        with pytest.raises(KeyError):
            space["orders"]
        trading.add("orders")
        assert space["orders"].hashmap("users")["ada"] == 1


def test_many_write_at_once(trading: vasmem.Vas) -> None:
    code = (
        "import sys, vasmem\n"
        "with vasmem.Vas.attach(sys.argv[1]) as vas, vas.switch() as space:\n"
        "    counter = space['orders'].counter('count')\n"
        "    for _ in range(500):\n"
        "        counter.incr()\n"
    )
    command = [sys.executable, "-c", code, trading.name]
    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    with trading.switch() as space:
        assert space["orders"].counter("count").value == 1500


def test_killed_while_changing_it_stays_whole(trading: vasmem.Vas) -> None:
    """Whatever moment they die in, the others read what was complete."""
    seed = int(os.environ.get("VASMEM_SEED") or random.randrange(1 << 32))
    print(f"replay: VASMEM_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            with vasmem.Vas.attach(trading.name) as vas:
                while True:
                    vas.add("prices", readonly=chance.random() < 0.5)
                    vas.discard("prices")
        time.sleep(chance.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert set(trading) - {"prices"} == {"orders"}
    trading.add("prices", readonly=True)
    assert dict(trading) == {"orders": "read-write", "prices": "read-only"}


def test_commands(scheme: str, trading: vasmem.Vas) -> None:
    def vas(*arguments: str) -> str:
        program = [sys.executable, "-m", "vasmem", "vas", *arguments]
        return subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout

    name = f"{scheme}lab"
    vas("create", name, "--mode", "640")
    vas("add", name, "orders", "--readonly")
    vas("add", name, "prices")
    vas("discard", name, "prices")
    found = {each["name"]: each for each in json.loads(vas("ls", "--json"))}
    assert found[name]["segments"] == {"orders": "read-only"}
    assert found[name]["mode"] == "0640"
    assert json.loads(vas("info", name, "--json"))["segments"] == {"orders": "read-only"}
    assert "orders" in vas("info", name)
    vas("rm", name)
    assert [each["name"] for each in json.loads(vas("ls", "--json"))] == [trading.name]
