"""Power failures of emulated segments: what was acknowledged is there, the rest all or nothing
(docs/faults.md, F4 and F5).

VASMEM_SEED repeats a failure; VASMEM_KILLS sets how many kills there are.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from conftest import EMULATED
from hypothesis import strategies as st
from kills import replayable
from test_fork import in_child
from workload import PLACES, WRITERS, Operation, State, apply, operations, places

import vasmem

Make = Callable[..., vasmem.Segment]
pytestmark = EMULATED
PROGRAM = Path(__file__).parent / "programs" / "writer.py"
NAMES = tuple(PLACES)
MODELS = ("px86", "none", "all")
KILLS = 16


def run(segment: vasmem.Segment, operation: Operation) -> None:
    found = places(segment, operation.names)
    with segment.transaction():
        for name in operation.names:
            if operation.value is None:
                found[name].delete(operation.key)
            else:
                found[name].put(operation.key, operation.value)


def content(segment: vasmem.Segment) -> State:
    return {
        (name, key): value
        for name, place in places(segment, NAMES).items()
        for key, value in place.items()
    }


def after_crash(segment: vasmem.Segment, model: Any, seed: int) -> vasmem.Segment:
    segment.crash(model, seed=seed)
    recovered = vasmem.attach(segment.url)
    assert recovered.check() == []
    return recovered


STEPS = st.tuples(
    st.integers(0, 1000), st.integers(0, 40), st.sampled_from(MODELS), st.integers(0, 2**64 - 1)
)


@hypothesis.settings(
    max_examples=12,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(st.lists(STEPS, min_size=1, max_size=4))
def test_nothing_is_lost(url: Callable[[str], str], steps: list[Any]) -> None:
    """Each example makes a segment of its own."""
    segment = vasmem.create(url("orders"))
    try:
        places(segment, NAMES)
        expected: State = {}
        for seed, count, model, crash_seed in steps:
            for operation in operations(seed, 0, count, NAMES):
                run(segment, operation)
                expected = apply(expected, operation)
            segment = after_crash(segment, model, crash_seed)
            assert content(segment) == expected
    finally:
        segment.close()
        vasmem.remove(url("orders"))


def killed(url: str, writers: int, chance: random.Random) -> list[tuple[int, int]]:
    """Writers of a random seed, all killed at once: of each, the seed and how much it did."""
    command = [sys.executable, str(PROGRAM), url]
    programs = [
        subprocess.Popen(
            [*command, str(writer), *NAMES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for writer in range(writers)
    ]
    seeds = []
    for program in programs:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.read(1) == b"+"
        seeds.append(chance.randrange(1 << 30))
        program.stdin.write(b"%d 100000\n" % seeds[-1])
        program.stdin.flush()
    time.sleep(chance.random() * 0.05)
    for program in programs:
        program.send_signal(signal.SIGKILL)
    done = []
    for program, seed in zip(programs, seeds, strict=True):
        out, _ = program.communicate()
        assert program.returncode == -signal.SIGKILL
        done.append((seed, len(out)))
    return done


def possible(state: State, seed: int, writer: int, acknowledged: int) -> tuple[State, State]:
    """A writer's part after what was acknowledged, and after one more."""
    before = after = state
    for number, operation in enumerate(operations(seed, writer, acknowledged + 1, NAMES)):
        before, after = after, apply(after, operation)
        assert number <= acknowledged
    return before, after


def part(state: State, writer: int) -> State:
    return {place: value for place, value in state.items() if place[1].startswith(f"{writer}/")}


def test_killed_and_then_the_power_fails(make: Make) -> None:
    segment = make("orders")
    places(segment, NAMES)
    states: list[State] = [{} for _ in range(WRITERS)]
    with replayable(KILLS) as (seed, kills):
        chance = random.Random(seed)
        for _ in range(kills // WRITERS):
            done = killed(segment.url, WRITERS, chance)
            segment = after_crash(segment, chance.choice(MODELS), chance.randrange(1 << 60))
            found = content(segment)
            for writer, (work, acknowledged) in enumerate(done):
                before, after = possible(states[writer], work, writer, acknowledged)
                states[writer] = part(found, writer)
                assert states[writer] in (before, after)
    segment.close()


def test_the_same_seed_leaves_the_same_bytes(make: Make, home: Path) -> None:
    with make("a", max_size="2M") as segment:
        segment.hashmap("users").update({n: n for n in range(100)})
    files = {path: path.read_bytes() for path in home.iterdir()}
    left = []
    for seed in (1, 1, 2):
        for path, data in files.items():
            path.write_bytes(data)
        assert vasmem.attach(segment.url).crash(seed=seed).lines > 10
        left.append([path.read_bytes() for path in files])
    assert left[0] == left[1]
    assert left[0] != left[2]


@pytest.mark.parametrize("model", MODELS)
def test_models_differ_in_what_survives(make: Make, model: Any) -> None:
    segment = make()
    segment.hashmap("users").update({n: n for n in range(100)})
    failure = segment.crash(model, seed=3)
    assert failure.lines > 10
    if model == "px86":
        assert 0 < failure.survived < failure.lines
    else:
        assert failure.survived == (failure.lines if model == "all" else 0)


def test_an_open_transaction_is_gone(make: Make) -> None:
    segment = make()
    users = segment.hashmap("users")
    users["ada"] = 1
    with (
        pytest.raises(vasmem.VasmemError, match="closed here"),
        segment.transaction(),
    ):
        users["ada"] = 2
        segment.crash("all")
    with vasmem.attach(segment.url) as recovered:
        assert dict(recovered["users"]) == {"ada": 1}


def test_refused_while_others_are_attached(make: Make) -> None:
    segment = make()

    def child() -> None:
        with vasmem.attach(segment.url) as other:
            with pytest.raises(vasmem.VasmemError, match=f"attached by pid {os.getppid()}"):
                other.crash()
            other.hashmap("users")["ada"] = 1

    assert in_child(child) == 0
    with (
        vasmem.attach(segment.url),
        pytest.raises(vasmem.VasmemError, match="attached once more"),
    ):
        segment.crash()
    assert dict(segment["users"]) == {"ada": 1}
    segment.crash()


def test_readers_wait_for_a_writer_to_recover(make: Make) -> None:
    segment = make()
    segment.hashmap("users")["ada"] = 1
    incarnation = segment.info()["incarnation"]
    segment.crash()
    with pytest.raises(vasmem.VasmemError, match="closed here"):
        segment.crash()
    with pytest.raises(vasmem.NeedsRecovery):
        vasmem.attach(segment.url, readonly=True)
    with vasmem.attach(segment.url) as writer, vasmem.attach(segment.url, readonly=True) as reader:
        assert writer.info()["incarnation"] == incarnation + 1
        assert dict(reader["users"]) == {"ada": 1}
        with pytest.raises(vasmem.VasmemError):
            reader.crash()


def test_wrong_model(make: Make) -> None:
    with pytest.raises(ValueError, match="'px86', 'none' and 'all'"):
        make().crash("arm")  # type: ignore[arg-type]
