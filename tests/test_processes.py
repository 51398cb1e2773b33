"""Unrelated processes that know only a name; what a SIGKILL of one does to the others: nothing."""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import KILLS, replayable
from workload import PLACES, WRITERS, Operation, State, apply, operations, places

import vasmem

PROGRAMS = Path(__file__).parent / "programs"
Make = Callable[..., vasmem.Segment]

# Alone a structure is under more pressure than with others.
ALONE = [(name,) for name in PLACES]
TOGETHER = (*PLACES, "hashmap 2")
ROUND_OPERATIONS = 1500
# A writer that does not finish its round in this time is taken to be wedged.
ROUND_SECONDS_MAX = 30.0


def start(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a program that shares nothing with this process but the environment."""
    return subprocess.Popen(
        [sys.executable, PROGRAMS / program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        bufsize=0,
    )


def python(program: str, *arguments: object) -> str:
    """What that program prints, run in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        check=True,
        timeout=60,
    ).stdout


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def test_two_programs_that_know_only_a_name(segment: vasmem.Segment) -> None:
    written = "import sys, vasmem; vasmem.attach(sys.argv[1]).hashmap('users')['ada'] = {'n': 1}"
    python(written, segment.url)
    read = "import sys, vasmem; print(vasmem.attach(sys.argv[1])['users']['ada'])"
    assert python(read, segment.url) == "{'n': 1}\n"
    assert segment["users"]["ada"] == {"n": 1}


def test_every_change_is_seen_at_once(segment: vasmem.Segment) -> None:
    """Two processes pass a ball through the map, with no other means to talk."""
    turns = 500
    program = """
import sys, vasmem
ball = vasmem.attach(sys.argv[1]).hashmap("ball")
for turn in range(int(sys.argv[2])):
    while ball.get("turn") != 2 * turn + 1:
        pass
    ball["turn"] = 2 * turn + 2
"""
    ball = segment.hashmap("ball")
    command = [sys.executable, "-c", program, segment.url, str(turns)]
    with subprocess.Popen(command, cwd="/") as other:
        for turn in range(turns):
            ball["turn"] = 2 * turn + 1
            while ball["turn"] != 2 * turn + 2:
                assert other.poll() is None or ball["turn"] == 2 * turns
        assert other.wait(10) == 0


def test_writers_that_collide_lose_nothing(segment: vasmem.Segment) -> None:
    program = """
import sys, vasmem
segment = vasmem.attach(sys.argv[1])
counters = segment.hashmap("counters")
for number in range(300):
    with segment.transaction():
        counters["sum"] = counters.get("sum", 0) + 1
    counters[f"{sys.argv[2]} {number}"] = number
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", program, segment.url, str(number)], cwd="/")
        for number in range(WRITERS)
    ]
    assert [run.wait(60) for run in runs] == [0] * WRITERS
    counters = segment.hashmap("counters")
    assert counters["sum"] == 300 * WRITERS
    assert len(counters) == 300 * WRITERS + 1


def test_a_transaction_is_seen_whole_or_not_at_all(segment: vasmem.Segment) -> None:
    program = """
import sys, vasmem
segment = vasmem.attach(sys.argv[1])
one, two = segment.hashmap("one"), segment.hashmap("two")
for number in range(400):
    with segment.transaction():
        one["n"] = number
        two["n"] = number
"""
    one, two = segment.hashmap("one"), segment.hashmap("two")
    one["n"] = two["n"] = -1
    with subprocess.Popen([sys.executable, "-c", program, segment.url], cwd="/") as writer:
        while writer.poll() is None:
            earlier, later = one["n"], two["n"]
            assert later >= earlier, "the first half was visible without the second"
            with segment.transaction():
                assert one["n"] == two["n"]
    assert writer.returncode == 0
    assert one["n"] == two["n"] == 399


def test_a_stopped_writer_stops_no_reader(segment: vasmem.Segment) -> None:
    """SIGSTOP in the middle of anything; readers must not notice."""
    names = ("hashmap", "btree")
    places(segment, names)
    writer = start("writer.py", segment.url, 0, *names)
    assert writer.stdout is not None
    assert writer.stdout.read(1) == b"+"
    assert writer.stdin is not None
    writer.stdin.write(b"1 100000\n")
    chance = random.Random(1)
    with vasmem.attach(segment.url, readonly=True) as reader:
        for _ in range(30):
            time.sleep(chance.uniform(0.001, 0.01))
            writer.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            for name in names:
                assert all(isinstance(value, bytes) for value in reader[name].values())
            assert time.monotonic() - begin < 5
            os.set_blocking(writer.stdout.fileno(), False)
            writer.stdout.read(1 << 20)
            writer.send_signal(signal.SIGCONT)
    kill(writer)


@pytest.mark.parametrize("names", [*ALONE, TOGETHER], ids=lambda names: f"{len(names)}-{names[0]}")
def test_killed_at_random_the_others_go_on(make: Make, names: tuple[str, ...]) -> None:
    with replayable(KILLS if names == TOGETHER else KILLS // 5) as (seed, kills):
        Siege(make(), names, seed).run(kills)


class Siege:
    """Writers under load; every round kills some of them, looks at what they left, replaces them.

    Each writer has keys of its own, so what it acknowledged tells their state exactly, but for the
    operation that it was in when it died: that one was done or it was not.
    """

    def __init__(self, segment: vasmem.Segment, names: tuple[str, ...], seed: int) -> None:
        self.segment = segment
        self.names = names
        self.chance = random.Random(seed)
        self.places = places(segment, names)
        self.states: list[State] = [{} for _ in range(WRITERS)]
        self.writers = [self.start(number) for number in range(WRITERS)]

    def start(self, number: int) -> subprocess.Popen[bytes]:
        return start("writer.py", self.segment.url, number, *self.names)

    def run(self, kills: int) -> None:
        done = 0
        try:
            for writer in self.writers:
                self.expect_ready(writer)
            while done < kills:
                done += self.round()
        finally:
            for writer in self.writers:
                kill(writer)

    def round(self) -> int:
        """One round; returns how many writers it killed."""
        seed = self.chance.randrange(1 << 30)
        for writer in self.writers:
            assert writer.stdin is not None
            writer.stdin.write(b"%d %d\n" % (seed, ROUND_OPERATIONS))
        victims = self.chance.sample(range(WRITERS), self.chance.choice([1, 1, 2, 3]))
        time.sleep(self.chance.uniform(0, 0.1))
        for victim in victims:
            self.writers[victim].send_signal(signal.SIGKILL)
        counts = [self.acknowledged(each, wanted=ROUND_OPERATIONS) for each in self.writers]
        for victim in victims:
            kill(self.writers[victim])
        # Ends what the dead have begun, which may be a commit still where stores are flushed (R6).
        assert self.segment.check() == []
        for number, acknowledged in enumerate(counts):
            alive = number not in victims
            assert not alive or acknowledged == ROUND_OPERATIONS, f"writer {number} is wedged"
            planned = list(operations(seed, number, ROUND_OPERATIONS, self.names))
            self.settle(number, planned, acknowledged)
        for victim in victims:
            self.writers[victim] = self.start(victim)
        for victim in victims:
            self.expect_ready(self.writers[victim])
        return len(victims)

    def settle(self, number: int, planned: list[Operation], acknowledged: int) -> None:
        """What is there is what was acknowledged, and perhaps the one operation after that."""
        state = self.states[number]
        for operation in planned[:acknowledged]:
            state = apply(state, operation)
        possible = [state]
        if acknowledged < len(planned):
            possible.append(apply(state, planned[acknowledged]))
        found = self.state_of(number)
        assert found in possible, (
            f"writer {number} acknowledged {acknowledged} operations; its keys are in neither "
            f"state: {differences(found, possible[0])} or {differences(found, possible[-1])}"
        )
        self.states[number] = found

    def state_of(self, number: int) -> State:
        prefix = f"{number}/"
        return {
            (name, key): value
            for name, each in self.places.items()
            for key, value in each.items()
            if key.startswith(prefix)
        }

    def expect_ready(self, writer: subprocess.Popen[bytes]) -> None:
        assert self.acknowledged(writer, wanted=1) == 1, "a new writer could not start"

    @staticmethod
    def acknowledged(writer: subprocess.Popen[bytes], *, wanted: int) -> int:
        """Bytes the writer has written: `wanted`, or fewer if it died or is wedged."""
        assert writer.stdout is not None
        count = 0
        end = time.monotonic() + ROUND_SECONDS_MAX
        while count < wanted and (left := end - time.monotonic()) > 0:
            if select.select([writer.stdout], [], [], left)[0]:
                received = os.read(writer.stdout.fileno(), wanted - count)
                if not received:
                    break
                count += len(received)
        return count


def differences(found: State, expected: State) -> str:
    keys = [key for key in found | expected if found.get(key) != expected.get(key)]
    shown = [f"{key}: {found.get(key)!s:.30} for {expected.get(key)!s:.30}" for key in keys[:3]]
    return f"{len(keys)} differ, {shown}"


def test_a_writer_killed_in_a_transaction_left_nothing(segment: vasmem.Segment) -> None:
    program = """
import os, sys, vasmem
segment = vasmem.attach(sys.argv[1])
users = segment.hashmap("users")
with segment.transaction():
    users["ada"] = "lost"
    del users["bob"]
    os.write(1, b"+")
    sys.stdin.read()
"""
    users = segment.hashmap("users")
    users["bob"] = "kept"
    command = [sys.executable, "-c", program, segment.url]
    writer = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", bufsize=0
    )
    assert writer.stdout is not None
    assert writer.stdout.read(1) == b"+"
    assert dict(users) == {"bob": "kept"}
    segment.timeout = 0.2
    with pytest.raises(vasmem.LockTimeout, match=str(writer.pid)):
        users["eve"] = 1
    kill(writer)
    segment.timeout = 10
    users["eve"] = "after"
    assert dict(users) == {"bob": "kept", "eve": "after"}


def test_an_interrupt_ends_a_wait(segment: vasmem.Segment) -> None:
    program = """
import sys, vasmem
segment = vasmem.attach(sys.argv[1])
segment.timeout = 60
sys.stdout.write("+")
sys.stdout.flush()
segment.hashmap("users")["ada"] = 1
"""
    segment.hashmap("users")
    with segment.transaction():
        waiter = subprocess.Popen(
            [sys.executable, "-c", program, segment.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        assert waiter.stdout is not None
        assert waiter.stdout.read(1) == b"+"
        time.sleep(0.3)
        waiter.send_signal(signal.SIGINT)
        with contextlib.closing(waiter.stdout):
            _, complaint = waiter.communicate(timeout=10)
    assert b"KeyboardInterrupt" in complaint
    assert "ada" not in segment["users"]
