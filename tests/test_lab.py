"""The crash lab through its public names: experiments, cases, images, and what it finds of ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

import vasmem
from vasmem import lab
from vasmem.lab.selftest import selftest

ROOT = Path(__file__).parent.parent


def put_and_delete(segment: vasmem.Segment, op: Callable[..., object]) -> None:
    users, order = segment.hashmap("users"), segment.btree("order")
    with op("put", 3):
        users[3] = "c"
    with op("both", 4), segment.transaction():
        users[4] = "d"
        order[4] = 4
    with op("delete", 1):
        del users[1]


def some(segment: vasmem.Segment) -> None:
    segment.hashmap("users").update({1: "a", 2: "b"})
    segment.btree("order")
    segment.counter("seen").set(5)


OURS = lab.Workload(put_and_delete, setup=some)


@pytest.mark.parametrize("model", ["px86", "eadr", "words", "fence-only"])
def test_our_own_structures_survive_power_cuts(model: str) -> None:
    result = lab.explore(OURS, lab.PowerCut(model), budget="4s", report=False)
    counts = result.check().total
    assert 0 < counts.second < counts.distinct <= counts.drawn
    assert counts.exist >= counts.points


def test_our_own_structures_survive_kills_and_no_room() -> None:
    growing = lab.Workload(lambda s: s.array("a", 100_000, "u8"), segment="128K", max_size="4M")
    plan = {"strategy": "exhaustive", "depth": 1, "budget": "100s"}
    counts = lab.explore(OURS, lab.Kill(), **plan).check().total
    assert counts.exhausted == counts.points > 0
    assert counts.bound is None
    assert lab.explore(OURS, lab.Kill(at=7), budget="30s").check().total.distinct == 1
    assert lab.explore(growing, lab.Enospc(), budget="30s").check().total.distinct > 0


def test_damage_neither_kills_nor_hangs() -> None:
    result = lab.explore(OURS, lab.Damage(n=240), budget="60s").check()
    assert result.total.distinct == 240


def test_the_lab_finds_its_zoo_and_nothing_else() -> None:
    told: list[str] = []
    assert selftest(lambda catch: told.append(catch.row())), "\n".join(told)
    assert len(told) > 30


FIELDS = {"count": 0, "entries": (64, 640)}


def log_of(segment: vasmem.Segment) -> object:
    return segment.memory.area("log", 4096, fields=FIELDS)


def entries(segment: vasmem.Segment) -> list[int]:
    log = segment.memory.area("log", fields=FIELDS)
    return [log.load(64 * number) for number in range(1, 1 + min(log.load(0), 10))]


def append(segment: vasmem.Segment, _: str, value: int) -> None:
    log = segment.memory.area("log", fields=FIELDS)
    count = log.load(0)
    log.store(64 * (count + 1), value)
    log.store(0, count + 1)
    log.flush(64 * (count + 1))
    log.flush(0)
    log.fence()


def append_well(segment: vasmem.Segment, _: str, value: int) -> None:
    log = segment.memory.area("log", fields=FIELDS)
    count = log.load(0)
    log.store(64 * (count + 1), value)
    log.persist(64 * (count + 1))
    log.store(0, count + 1)
    log.persist(0)


OPTIONS = {"setup": log_of, "contents": entries, "ops": [("append", n) for n in range(5)]}
BROKEN = lab.Workload(append, **OPTIONS)
SOUND = lab.Workload(append_well, **OPTIONS)


def test_a_failure_is_small_kept_and_found_again(tmp_path: Path) -> None:
    result = lab.explore(BROKEN, budget="10s", folder=tmp_path)
    (case,) = result.cases
    assert len(case.ops) == 1
    assert len(case.trace) <= 12
    assert "flush and fence log.entries first" in case.advice()
    assert case.path is not None
    assert case.path.stat().st_size < 4096
    again = lab.Case.load(case.path)
    verdicts = [again.replay(BROKEN) for _ in range(100)]
    assert len({verdict.what for verdict in verdicts}) == 1
    assert all(verdicts)
    assert sorted(case.guilty()) == [
        "line log.count new",
        "line log.entries still old (1 stores missing)",
    ]
    with again.open() as segment:
        assert entries(segment) != []
    with pytest.raises(lab.CrashFound, match="vasmem lab replay"):
        result.check()
    assert result.report is not None
    assert "data:image/png;base64," in result.report.read_text()
    assert list(tmp_path.glob("*.png"))


def test_the_same_seed_tries_the_same() -> None:
    results = [lab.explore(SOUND, budget="20s", seed=5).check().total for _ in range(2)]
    for counts in results:
        counts.seconds = 0
    assert results[0] == results[1]


def test_every_flush_and_fence_matters() -> None:
    score = lab.mutate(SOUND, budget="3s").check()
    assert score.caught == len(score.omissions) == 4
    with pytest.raises(ValueError, match="fails with nothing left out"):
        lab.mutate(BROKEN, budget="3s")


def test_images_of_a_recorded_trace(make: Callable[..., vasmem.Segment]) -> None:
    segment = make("test")
    area = segment.memory.area("pair", 4096)
    with lab.record(segment) as trace:
        area.store(0, 1)
        area.store(64, 2)
        area.flush(0, 72)
        area.fence()
    if not trace.flushes:
        with pytest.raises(ValueError, match="asks for none"):
            lab.crash_images(trace)
        return
    images, found = lab.crash_images(trace), set()
    for image in images:
        with image.attach() as left:
            pair = left.memory.area("pair")
            found.add((pair.load(0), pair.load(64)))
    assert found == {(0, 0), (1, 0), (0, 2), (1, 2)}
    assert images.distinct == len(found) <= images.drawn
    assert images.exist >= 4


def test_the_fixture_explores_and_replays(tmp_path: Path) -> None:
    test = tmp_path / "test_mine.py"
    test.write_text(
        "def test_mine(crashlab):\n"
        "    @crashlab.workload()\n"
        "    def w(s, op):\n"
        "        m = s.hashmap('m')\n"
        "        with op('put', 1): m[1] = 'a'\n"
        "        with op('two'):\n"
        "            m[2] = 'b'\n"
        "            m[3] = 'c'\n"
        "    crashlab.explore(w, budget='5s').check()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", str(test)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "illegal contents in two()" in ran.stdout
    (case,) = (tmp_path / "vasmem-lab").glob("*.json")
    command = [sys.executable, "-m", "vasmem", "lab", "replay", str(case)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    assert "illegal contents in two()" in ran.stdout


def test_the_command_line(tmp_path: Path) -> None:
    def lab_command(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "vasmem", "lab", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    file = tmp_path / "experiment.py"
    text = (ROOT / "examples/10_crash_experiment.py").read_text()
    file.write_text(text.partition("result =")[0])
    ran = lab_command("run", str(file), "--budget", "5s", "--fault", "px86", "--fault", "kill")
    assert ran.returncode == 1, ran.stderr
    assert "log.count may persist before log.entries" in ran.stdout
    case = "vasmem-lab/append-1.json"
    case = case if (tmp_path / case).exists() else "vasmem-lab/append.json"
    assert "illegal contents" in lab_command("replay", case).stdout
    ran = lab_command("shrink", case, "--seconds", "3")
    assert "store log.entries[0] = 11" in ran.stdout, ran.stderr
    assert lab_command("replay", case).returncode == 1
    assert (tmp_path / lab_command("report", case).stdout.strip()).is_file()
    assert lab_command("run", "nowhere.py").returncode == 2


def test_survivors_of_real_kills_go_on() -> None:
    done = lab.kill(OURS, survivors=2).check()
    assert done.kills > 100
    assert lab.kill(SOUND, at=3).check().kills == 1


def test_a_storm_of_kills_loses_no_money() -> None:
    from vasmem.lab import accounts

    parts = {"setup": accounts.setup, "check": accounts.check}
    assert lab.storm(accounts.work, seconds=3, kill_hz=30, **parts).check().kills > 20
    assert lab.storm(accounts.work, seconds=0.1, setup=accounts.setup, check=len).findings


class Users(lab.machine(setup=some)):  # type: ignore[misc]
    """A map and what should be in it, through power failures."""

    def __init__(self) -> None:
        super().__init__()
        self.model = {1: "a", 2: "b"}

    @rule(key=st.integers(0, 5), value=st.text(max_size=40))
    def put(self, key: int, value: str) -> None:
        with self.op("put", key, value):
            self.segment.hashmap("users")[key] = value
        self.model[key] = value

    @rule(key=st.integers(0, 5))
    def discard(self, key: int) -> None:
        with self.op("discard", key):
            self.segment.hashmap("users").pop(key, None)
        self.model.pop(key, None)

    def recovered(self, contents: dict[str, dict[int, str]]) -> None:
        self.model = dict(contents["users"])

    @invariant()
    def same(self) -> None:
        assert dict(self.segment.hashmap("users")) == self.model


def test_a_machine_lives_through_power_failures() -> None:
    run_state_machine_as_test(Users, settings=settings(max_examples=30, deadline=None))
