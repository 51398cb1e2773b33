"""Shrinking: of a failure, the fewest operations, the earliest crash, the fewest guilty lines."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vasmem import _core
from vasmem.lab.explorer import Explorer, Failure, Search
from vasmem.lab.faults import PowerCut
from vasmem.lab.ground import Ground
from vasmem.lab.judge import Judge, Verdict
from vasmem.lab.trace import EVENT, FENCE, FLUSH, STORE, STREAM, Trace
from vasmem.memory import LINE_BYTES

if TYPE_CHECKING:
    from vasmem.lab.workloads import Recording

# Seconds for all of it, and for one attempt with fewer operations.
SHRINK_S, ATTEMPT_S = 8.0, 1.5
# The story of a failure has at most so many events.
EVENTS_MAX = 12
EARLIER_MAX = 4_096


@dataclass(frozen=True)
class Line:
    """A line of a failing state: so many of its stores were durable."""

    at: int
    kept: int
    stores: int
    guilty: bool


@dataclass
class Small:
    """The smallest failure that was found: a trace that ends in the crash."""

    failure: Failure
    trace: Trace
    state: list[int]
    lines: list[Line]


class Stage:
    """A recording's states, to be tried one by one."""

    def __init__(self, trace: Trace, failure: Failure, judge: Judge) -> None:
        self.failure, self.judge = failure, judge
        self.ground = Ground()
        fault = failure.fault
        model = fault.model if isinstance(fault, PowerCut) else "eadr"
        self.bench = _core.Bench(
            self.ground.fd,
            trace.base,
            trace.events.tobytes(),
            model=model,
            power=isinstance(fault, PowerCut),
        )

    def verdict(self, point: int, state: list[int]) -> Verdict:
        """What is wrong with a state."""
        self.bench.put(point, state)
        verdict = self.judge(self.ground.attach, self.failure.promise)
        self.bench.restore()
        return verdict

    def close(self) -> None:
        """Give back what it holds."""
        self.ground.close()


def shrink(failure: Failure, judge: Judge, seconds: float = SHRINK_S) -> Small:
    """Make a failure as small as it goes; what comes out fails, too."""
    until = time.monotonic() + seconds
    failure = _fewer_operations(failure, judge, until)
    failure = _earlier(failure, judge, until)
    stage = Stage(failure.recording.trace, failure, judge)
    try:
        state, lines = _fewest_lines(failure, stage)
        failure = replace(failure, state=state, verdict=stage.verdict(failure.point, state))
        pending = stage.bench.pending(failure.point)
        durable = stage.bench.durable(failure.point)
    finally:
        stage.close()
    for limit in (None, EVENTS_MAX):
        trace, kept = _told(failure, lines, pending, durable, limit)
        if len(trace) <= EVENTS_MAX and _fails(trace, kept, failure, judge):
            return Small(failure, trace, kept, lines)
    whole = Trace(
        failure.recording.trace.base,
        failure.recording.trace.events[: failure.point],
        failure.recording.trace.sites,
        failure.recording.trace.places,
    )
    return Small(failure, whole, failure.state, lines)


def _fails(trace: Trace, state: list[int], failure: Failure, judge: Judge) -> bool:
    stage = Stage(trace, failure, judge)
    try:
        return bool(stage.verdict(len(trace), state))
    except ValueError:
        return False
    finally:
        stage.close()


def _fewer_operations(failure: Failure, judge: Judge, until: float) -> Failure:
    """Leave operations out, as long as something fails; only a list of them can be shortened."""
    ops = judge.workload.ops
    if ops is None:
        return failure
    ops, index = list(ops), len(ops) - 1
    while index >= 0 and time.monotonic() < until - ATTEMPT_S:
        fewer = ops[:index] + ops[index + 1 :]
        if fewer and (found := _failing(fewer, failure, judge)):
            ops, failure = fewer, found
        index -= 1
    return failure


def _failing(ops: list[Any], failure: Failure, judge: Judge) -> Failure | None:
    try:
        recording = judge.workload.record(ops, omitted=judge.omitted)
    except Exception:
        return None  # an operation that makes no sense without the ones that are left out
    search = Search(time.monotonic() + ATTEMPT_S, "auto", depth=failure.crashes)
    explorer = Explorer(recording, failure.fault, judge, search)
    try:
        explorer.explore()
    finally:
        explorer.close()
    return explorer.failures[0] if explorer.failures else None


def _earlier(failure: Failure, judge: Judge, until: float) -> Failure:
    search = Search(min(until, time.monotonic() + ATTEMPT_S), "auto", depth=1)
    explorer = Explorer(failure.recording, failure.fault, judge, search, failure.crashes)
    try:
        for point, states in explorer.points:
            if point >= failure.point or explorer.is_over():
                break
            explorer._try(point, "all" if states <= EARLIER_MAX else "near", EARLIER_MAX)
    finally:
        explorer.close()
    return explorer.failures[0] if explorer.failures else failure


def _fewest_lines(failure: Failure, stage: Stage) -> tuple[list[int], list[Line]]:
    """Of all lines as old or as new as can be, the fewest that are not."""
    point = failure.point
    pending = stage.bench.pending(point)
    full = [len(steps) for _, steps in pending]
    none = [0] * len(full)
    best: list[int] | None = None
    for base in (none, full):
        state = list(failure.state)
        for index in range(len(state)):
            # Home, or as near to it as still fails.
            here, there = state[index], base[index]
            for kept in range(there, here, 1 if there < here else -1):
                trial = [*state[:index], kept, *state[index + 1 :]]
                if stage.verdict(point, trial):
                    state = trial
                    break
        if best is None or _distance(state, base) < min(_distance(best, b) for b in (none, full)):
            best = state
    state = best or list(failure.state)
    lines = []
    for index, (at, steps) in enumerate(pending):
        others = {0, full[index]} - {state[index]}
        trials = [[*state[:index], kept, *state[index + 1 :]] for kept in others]
        guilty = any(not stage.verdict(point, trial) for trial in trials)
        lines.append(Line(at, state[index], len(steps), guilty))
    if lines and not any(line.guilty for line in lines):
        lines = [replace(line, guilty=line.kept > 0) for line in lines]
    return state, lines


def _distance(state: list[int], base: list[int]) -> int:
    return sum(a != b for a, b in zip(state, base, strict=True))


def _told(
    failure: Failure,
    lines: list[Line],
    pending: list[tuple[int, list[tuple[int, int]]]],
    durable: list[tuple[int, int]],
    limit: int | None,
) -> tuple[Trace, list[int]]:
    """The trace of the guilty lines alone: of all others, what they have is durable.

    With a limit, of each line the last store that persisted and the first that did not.
    """
    source = failure.recording.trace
    base = bytearray(source.base)
    for at, value in durable:
        base[at : at + 8] = value.to_bytes(8, "little")
    chosen: list[int] = []
    places = _events_of(failure.recording, failure.point, pending)
    units: dict[int, int] = {}
    for line, (at, steps), numbers in zip(lines, pending, places, strict=True):
        first, last = 0, len(steps)
        if not line.guilty:
            first = last = line.kept
        elif limit is not None:
            spare = max(limit // max(sum(each.guilty for each in lines), 1) - 1, 1)
            first, last = max(line.kept - spare, 0), min(line.kept + 1, len(steps))
        for place, value in steps[:first]:
            base[place : place + 8] = value.to_bytes(8, "little")
        chosen += numbers[first:last]
        if line.guilty:
            units[at] = line.kept - first
    stores = sorted(chosen)
    kept = set(stores) | (_flushes(failure, stores) if limit is None else set())
    events = source.events[sorted(kept)] if kept else np.empty(0, EVENT)
    trace = Trace(bytes(base), events, source.sites, source.places)
    order = [units[at] for at in units]
    return trace, order


def _flushes(failure: Failure, stores: list[int]) -> set[int]:
    """Flushes of their lines behind them, and fences before the last: they did not help."""
    if not stores:
        return set()
    events = failure.recording.trace.events
    lines = {int(events["at"][number]) // LINE_BYTES for number in stores}
    found = set()
    for number in range(stores[0], failure.point):
        kind, _, at, value = events[number].tolist()
        touched = range(at // LINE_BYTES, (at + value) // LINE_BYTES)
        if (kind == FLUSH and lines.intersection(touched)) or kind == FENCE:
            found.add(number)
    return found


def _events_of(
    recording: Recording, point: int, pending: list[tuple[int, list[tuple[int, int]]]]
) -> list[list[int]]:
    """Numbers of the events that are the stores of each line: the latest that fit."""
    events = recording.trace.events
    wanted = [list(steps) for _, steps in pending]
    found: list[list[int]] = [[] for _ in wanted]
    lines = {at: index for index, (at, _) in enumerate(pending)}
    for number in range(point - 1, -1, -1):
        kind, _, at, value = events[number].tolist()
        if kind not in (STORE, STREAM):
            continue
        for unit in (at, at // LINE_BYTES * LINE_BYTES, 0):
            index = lines.get(unit)
            if index is not None and wanted[index] and wanted[index][-1] == (at, value):
                wanted[index].pop()
                found[index].insert(0, number)
                break
    return found
