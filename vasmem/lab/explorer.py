"""Exploring: the states that a crash may leave of a recording are recovered and judged."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from vasmem import _core
from vasmem.lab.faults import Kill, PowerCut
from vasmem.lab.ground import Ground
from vasmem.lab.judge import Judge, Verdict
from vasmem.lab.trace import MARK, Recorder
from vasmem.lab.workloads import Diary, Promise, Recording

if TYPE_CHECKING:
    from vasmem.segment import Segment

Strategy: TypeAlias = Literal["auto", "exhaustive", "near", "random", "representative"]
STRATEGIES = ("auto", "exhaustive", "near", "random", "representative")
# A point with more states is not tried exhaustively.
EVERY_MAX = 65_536
# Of a point that has more: so many near ones, and so many random ones a round.
NEAR_MOST, RANDOM_MOST = 8_192, 256
# Of each point of a second crash.
SECOND_MOST = 48


@dataclass
class Counts:
    """How many states there were; all that is not a time or bound adds up."""

    exist: float = 0.0
    drawn: int = 0
    distinct: int = 0
    second: int = 0
    points: int = 0
    exhausted: int = 0
    random: int = 0
    failures: int = 0
    seconds: float = 0.0

    def add(self, other: Counts) -> None:
        """Adds another one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def rate(self) -> float:
        """States a second."""
        return self.distinct / self.seconds if self.seconds else 0.0

    @property
    def bound(self) -> float | None:
        """Rule of three: at most this part of the states fails, at 95%; None if all were tried.

        It holds for states as they are drawn, at random, and if none of these failed.
        """
        if self.exhausted == self.points:
            return None
        return 3 / self.random if self.random else 1.0


@dataclass
class Failure:
    """A state whose recovery is wrong."""

    verdict: Verdict
    recording: Recording
    point: int
    state: list[int]
    promise: Promise
    fault: PowerCut | Kill
    crashes: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass
class Search:
    """How far an exploration goes."""

    until: float
    strategy: Strategy = "auto"
    near: int = 2
    depth: int = 2
    then_ops: int = 1
    seed: int = 0
    failures_max: int = 1
    tell: Callable[[Counts], None] = lambda _: None

    def part(self, part: float) -> float:
        """When that part of the time that is left now will be over."""
        now = time.monotonic()
        return now + max(self.until - now, 0.0) * part


class Explorer:
    """The crash states of one recording."""

    def __init__(
        self,
        recording: Recording,
        fault: PowerCut | Kill,
        judge: Judge,
        search: Search,
        crashes: int = 1,
    ) -> None:
        self.recording, self.fault, self.judge, self.search = recording, fault, judge, search
        self.crashes, self.until = crashes, search.until
        self.counts = Counts()
        self.failures: list[Failure] = []
        self.good: list[tuple[int, list[int]]] = []
        self.ground = Ground()
        trace, power = recording.trace, isinstance(fault, PowerCut)
        model = fault.model if isinstance(fault, PowerCut) else "eadr"
        self.bench = _core.Bench(
            self.ground.fd, trace.base, trace.events.tobytes(), model=model, power=power
        )
        self.points = self._points()
        self.counts.exist = float(sum(states for _, states in self.points))
        self.counts.points = len(self.points)

    def _points(self) -> list[tuple[int, float]]:
        """Where crashes differ: an operation's return is one for the next thing that happens."""
        points = self.bench.points()
        if isinstance(self.fault, Kill) and self.fault.at != "every-store":
            return self._at_store(self.fault.at)
        events = self.recording.trace.events
        ends = {
            since - 1 for since, promise in self.recording.promises if promise.words[:2] != "in"
        }
        ends.discard(0)
        return [
            (point, states)
            for point, states in points
            if not (point < len(events) and events["kind"][point] == MARK and point in ends)
        ]

    def _at_store(self, number: int) -> list[tuple[int, float]]:
        stores = np.flatnonzero(self.recording.trace.events["kind"] <= 1)
        if not 1 <= number <= len(stores):
            raise ValueError(f"there is no store {number}: the workload has {len(stores)}")
        return [(int(stores[number - 1]) + 1, 1.0)]

    def close(self) -> None:
        """Give back what it holds."""
        self.ground.close()

    def is_over(self) -> bool:
        """Whether it is to end before all is tried."""
        return len(self.failures) >= self.search.failures_max or time.monotonic() > self.until

    def explore(self) -> None:
        """Try states as the strategy says, then second crashes, then random ones for the rest."""
        how = self.search.strategy
        if isinstance(self.fault, Kill) and self.fault.at != "every-store":
            point = self.points[0][0]
            self._try(point, "random", 1, last=True)
        elif how == "random":
            self._sample()
        else:
            self.until = self.search.part(0.6)
            self._systematic(how)
            self.until = self.search.part(0.6 if how == "auto" else 1.0)
            self._second()
            self.until = self.search.until
            if how == "auto":
                self._sample()

    def _systematic(self, how: Strategy) -> None:
        seen: set[Any] = set()
        first: list[tuple[int, float]] = []
        for point, states in self.points:
            shape = self._shape(point) if how == "representative" else point
            if shape not in seen:
                seen.add(shape)
                first.append((point, states))
        rounds: list[tuple[str, int]] = [("near", 1), ("all", 0), ("near", self.search.near)]
        for name, near in rounds:
            if (how == "exhaustive" and name == "near") or (how == "near" and name == "all"):
                continue
            for point, states in first:
                if self.is_over():
                    return
                if name == "all" and (states <= EVERY_MAX or how == "exhaustive"):
                    self.counts.exhausted += self._try(point, "all")
                elif name == "near" and (near == 1 or states > EVERY_MAX or how == "near"):
                    self._try(point, "near", NEAR_MOST, near=near)

    def _shape(self, point: int) -> Any:
        """Points that do alike things have the same: operation, call sites, lines by name."""
        events = self.recording.trace.events
        since = max(
            (mark for mark, _ in self.recording.promises if mark <= point),
            default=0,
        )
        places = self.recording.trace.places
        words = self.recording.promise(point).words.partition("(")[0]
        lines = tuple(places.line(at) for at, _ in self.bench.pending(point))
        return words, lines, tuple(events["site"][since:point].tolist()), point - since

    def _sample(self) -> None:
        """Random states of the points that were not exhausted, until the time is up."""
        wide = [point for point, states in self.points if states > EVERY_MAX]
        if self.search.strategy == "random":
            wide = [point for point, states in self.points if states > 1]
        seed = self.search.seed
        while wide and not self.is_over():
            before = self.counts.distinct
            for point in wide:
                seed += 1
                if not self.is_over():
                    self._try(point, "random", RANDOM_MOST, seed=seed)
            if self.counts.distinct == before:
                return

    def _try(
        self,
        point: int,
        how: str,
        most: int = 0,
        *,
        near: int = 1,
        seed: int = 0,
        last: bool = False,
    ) -> bool:
        """Draw states of a point and judge them; whether all that were drawn were judged."""
        promise = self.recording.promise(point)
        drawn = self.bench.draw(point, how, near=near, most=max(most, 1), seed=seed)
        self.counts.drawn += drawn
        self.counts.random += drawn if how == "random" else 0
        while not self.is_over():
            if last:
                state = [len(steps) for _, steps in self.bench.pending(point)]
                self.bench.put(point, state)
            else:
                found = self.bench.advance(promise.number)
                if found is None:
                    return True
                state = found[0]
            self.counts.distinct += 1
            verdict = self.judge(self.ground.attach, promise)
            if verdict:
                self._fail(verdict, point, state, promise)
            else:
                self.good.append((point, state))
            self.bench.restore()
            if self.counts.distinct % 64 == 0:
                self.search.tell(self.counts)
            if last:
                return True
        return False

    def _fail(self, verdict: Verdict, point: int, state: list[int], promise: Promise) -> None:
        self.counts.failures += 1
        failure = Failure(verdict, self.recording, point, state, promise, self.fault, self.crashes)
        self.failures.append(failure)

    def _second(self) -> None:
        """Crash again: during the recovery of a state, or in the operation after it."""
        if self.search.depth <= self.crashes:
            return
        order = list(range(len(self.good)))
        random.Random(self.search.seed).shuffle(order)
        for index in order:
            if self.is_over():
                return
            point, state = self.good[index]
            recording = self.recovery(point, state)
            if recording is None:
                continue
            inner = Explorer(recording, self.fault, self.judge, self.search, self.crashes + 1)
            inner.until = self.until
            try:
                for again, states in inner.points:
                    if inner.is_over():
                        break
                    how = "all" if states <= SECOND_MOST else "near"
                    inner._try(again, how, SECOND_MOST)
            finally:
                inner.close()
            self.counts.distinct += inner.counts.distinct
            self.counts.drawn += inner.counts.drawn
            self.counts.second += inner.counts.distinct
            self.counts.failures += inner.counts.failures
            self.failures += inner.failures
            self.search.tell(self.counts)

    def recovery(self, point: int, state: list[int]) -> Recording | None:
        """What recovers that state, and goes on, as a recording; None if it cannot go on."""
        promise = self.recording.promise(point)
        self.bench.put(point, state)
        base = self.ground.read()
        tape = _core.Tape()
        made: list[Recording] = []
        recorders: list[Recorder] = []

        def attach(_: Any) -> Segment:
            segment = self.ground.attach(tape)
            recorders.append(Recorder(segment, tape, self.judge.omitted))
            return segment

        def go_on(segment: Segment, _: Any) -> None:
            diary = Diary(self.judge.workload, segment, tape)
            # What was to be done next may not be possible in this state, by the workload's own
            # rules; the recovery itself was recorded all the same.
            with suppress(Exception):
                self.judge.workload.again(segment, diary, self.search.then_ops)
            diary.finish()
            segment._core.tap(None)
            recording = diary.recording(recorders[0].trace(base))
            recording.flushed_at = recorders[0].flushed_at
            later = [
                (at, each.legal, f"{promise.words}, then {each.words}")
                for at, each in recording.promises
            ]
            recording.promises = []
            recording.allow(0, promise.legal, f"{promise.words}, then in its recovery")
            for since, legal, words in later:
                recording.allow(since, legal, words)
            made.append(recording)

        self.judge(attach, promise, go_on)
        self.bench.restore()
        return made[0] if made else None
