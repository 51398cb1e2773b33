"""Real processes, really killed: after a store while others live on, or at random under load."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vasmem import _core
from vasmem.lab.ground import Ground
from vasmem.lab.reading import nearest, same
from vasmem.lab.workloads import Diary, Recording, Workload, as_workload

if TYPE_CHECKING:
    from vasmem.segment import Segment

# An exit code of a process that met an error, and told of it.
BROKEN = 3


@dataclass(frozen=True)
class MustProgress:
    """Survivors must do an operation of their own within so many seconds."""

    seconds: float = 1.0


@dataclass
class Kills:
    """What came of real kills: how many, the longest wait of a survivor, and what was wrong."""

    kills: int = 0
    wait_max_s: float = 0.0
    findings: list[str] = field(default_factory=list)

    def check(self) -> Kills:
        """Itself, if nothing was wrong. Raises AssertionError."""
        if self.findings:
            told = "\n".join(self.findings[:5])
            raise AssertionError(f"{len(self.findings)} findings in {self.kills} kills:\n{told}")
        return self


def kill(
    workload: Workload | Callable[..., Any],
    at: int | Literal["every-store"] = "every-store",
    *,
    survivors: int = 1,
    then: MustProgress | None = None,
) -> Kills:
    """Run a workload in a child that dies by SIGKILL after a store, while others have it attached.

    Each survivor must find contents that are legal at that store, `check()` must be empty, and the
    segment must take an operation: by `then` in a second. Done for each store, or for one.
    """
    if survivors < 1:
        raise ValueError(f"{survivors} survivors: give 1 or more, who judge what the dead leaves")
    chosen, limit = as_workload(workload), (then or MustProgress()).seconds
    tape = _core.Tape()
    recording = chosen.record(
        tape=tape
    )  # it counts a copy of bytes as one store, as the child does
    if at != "every-store" and not 1 <= at <= tape.stores:
        raise ValueError(f"there is no store {at}: {chosen.name} has {tape.stores}")
    done = Kills()
    for number in range(1, tape.stores + 1) if at == "every-store" else [at]:
        with ExitStack() as stack:
            ground = stack.enter_context(chosen.prepared())
            others = [stack.enter_context(ground.attach()) for _ in range(survivors)]
            acknowledged = _killed(chosen, ground, number)
            if acknowledged is None:
                break
            done.kills += 1
            legal = _legal(recording, acknowledged)
            for other in others:
                done.findings += _survives(chosen, other, (number, legal), limit, done)
    return done


def _killed(workload: Workload, ground: Ground, number: int) -> int | None:
    """A child that dies after its store `number`: the operations it finished; None if it lived."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _die(workload, ground, number, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        acknowledged = len(told.read())
    _, status = os.waitpid(pid, 0)
    return acknowledged if os.WIFSIGNALED(status) else None


def _die(workload: Workload, ground: Ground, number: int, writer: int) -> None:
    """The child's part; it does not return."""
    try:
        tape = _core.Tape(kill_at=number)
        segment = ground.attach(tape)
        diary = _Telling(workload, segment, tape, writer)
        workload.run(segment, diary, workload.ops)
    finally:
        os._exit(0)


class _Telling(Diary):
    """Tells through a pipe that an operation has returned."""

    def __init__(self, workload: Workload, segment: Segment, tape: _core.Tape, writer: int) -> None:
        super().__init__(workload, segment, tape)
        self._writer = writer

    def _note(self, legal: list[Any], words: str) -> None:
        super()._note(legal, words)
        if words.startswith("after "):
            os.write(self._writer, b".")


def _legal(recording: Recording, acknowledged: int) -> list[Any]:
    """What may be there when so many operations had returned, and perhaps one was under way."""
    returned = [
        index
        for index, (_, promise) in enumerate(recording.promises)
        if promise.words.startswith("after ")
    ]
    index = returned[acknowledged - 1] if acknowledged else 0
    legal = list(recording.promises[index][1].legal)
    if index + 1 < len(recording.promises):
        legal += recording.promises[index + 1][1].legal
    return legal


def _survives(
    workload: Workload, other: Segment, about: tuple[int, list[Any]], limit: float, done: Kills
) -> Iterator[str]:
    number, legal = about
    begun = time.monotonic()
    try:
        if workload.recover is not None:
            workload.recover(other)
        found = workload.read(other)
        if not any(same(found, each) for each in legal):
            yield f"killed after store {number}: {'; '.join(nearest(found, legal))}"
        with suppress(KeyError):
            workload.again(other, Diary(workload, other, _core.Tape()), 1)
        if broken := other.check():
            yield f"killed after store {number}: check() finds {broken[0]}"
    except Exception as error:
        yield f"killed after store {number}: {type(error).__name__}: {error}"
    waited = time.monotonic() - begun
    done.wait_max_s = max(done.wait_max_s, waited)
    if waited > limit:
        yield f"killed after store {number}: a survivor was held up for {waited:.2f} s"


def storm(
    work: Callable[[Segment, int, random.Random], Any],
    *,
    workers: int = 4,
    kill_hz: float = 20.0,
    seconds: float = 10.0,
    setup: Callable[[Segment], Any] | None = None,
    check: Callable[[Segment], Any] | None = None,
    segment: int | str = "4M",
    seed: int = 0,
) -> Kills:
    """Several processes call `work(segment, number, random)` for ever, and are killed at random.

    A killed one is replaced. In the end, `check(segment)` must not raise nor return what is wrong,
    and `segment.check()` must be empty. An exception of `work` is a finding.
    """
    if workers < 1 or kill_hz <= 0 or seconds <= 0:
        text = f"{workers} workers, {kill_hz:g} kills a second, {seconds:g} s"
        raise ValueError(f"a storm of {text}: all three must be more than 0")
    rng, done = random.Random(seed), Kills()
    with Ground.made(segment, "1G") as ground:
        with ground.attach() as first:
            if setup is not None:
                setup(first)
        pids = {_worker(work, ground, number, rng.random()): number for number in range(workers)}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(rng.expovariate(kill_hz))
            victim = rng.choice(list(pids))
            done.findings += _ended(victim, done)
            number = pids.pop(victim)
            pids[_worker(work, ground, number, rng.random())] = number
        for pid in pids:
            done.findings += _ended(pid, done)
        with ground.attach() as last:
            begun = time.monotonic()
            told = check(last) if check is not None else None
            if told is not None and told is not True and told != []:
                done.findings.append(f"check tells: {told!r}")
            done.findings += [f"check() finds {broken}" for broken in last.check()]
            done.wait_max_s = time.monotonic() - begun
    return done


def _worker(work: Callable[..., Any], ground: Ground, number: int, seed: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        segment, rng = ground.attach(), random.Random(seed)
        while True:
            work(segment, number, rng)
    except BaseException as error:
        os.write(2, f"storm: worker {number}: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _ended(pid: int, done: Kills) -> list[str]:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    done.kills += 1
    if os.WIFEXITED(status):
        return ["a worker raised; it says what on stderr"]
    if os.WTERMSIG(status) != signal.SIGKILL:
        return [f"a worker died of {signal.Signals(os.WTERMSIG(status)).name}"]
    return []
