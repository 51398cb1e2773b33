"""The persist-mutation score of a structure of one's own: each flush and fence left out in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vasmem import _core
from vasmem.lab.explorer import Explorer, Search
from vasmem.lab.faults import Kill, PowerCut
from vasmem.lab.judge import Judge, Oracle, limited
from vasmem.lab.lab import seconds_of
from vasmem.lab.trace import Recorder
from vasmem.lab.workloads import Workload, as_workload


@dataclass(frozen=True)
class Omission:
    """A call that was left out, and what came of it: `what` is empty if nobody noticed."""

    call: str
    function: str
    what: str
    states: int


@dataclass
class Score:
    """Which of the flushes and fences of a structure matter, as far as the lab sees."""

    name: str
    omissions: list[Omission] = field(default_factory=list)

    @property
    def caught(self) -> int:
        """How many were noticed."""
        return sum(bool(omission.what) for omission in self.omissions)

    def check(self, redundant: Sequence[str] = ()) -> Score:
        """Itself, if all but the `redundant` calls ("flush at log.py:17") were noticed.

        Raises AssertionError with those that nobody noticed.
        """
        missed = [o.call for o in self.omissions if not o.what and o.call not in redundant]
        if missed:
            raise AssertionError(
                f"{self.name}: nobody notices that these are missing: {'; '.join(missed)}. Either "
                "nothing rests on them, or the workload or the time was too small"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        calls = [vars(omission) for omission in self.omissions]
        return {"workload": self.name, "caught": self.caught, "omissions": calls}


def mutate(
    workload: Workload | Callable[..., Any],
    *,
    fault: PowerCut | Kill | None = None,
    oracle: Oracle | None = None,
    budget: float | str = "5s",
    depth: int = 2,
    seed: int = 0,
    tell: Callable[[Omission], None] = lambda _: None,
) -> Score:
    """Leave out each flush and fence that the workload and its recovery call, one at a time.

    `budget` is the time for each. Raises ValueError if the workload fails as it is.
    """
    chosen, seconds = as_workload(workload), seconds_of(budget)
    score = Score(chosen.name)
    with limited() as start:
        judge = Judge(chosen, oracle, start)
        search = (fault or PowerCut(), depth, seed, seconds)
        what, _ = _searched(judge, search)
        if what:
            raise ValueError(f"{chosen.name} fails with nothing left out: {what}")
        for call, function in sorted(calls(chosen).items()):
            without = Judge(chosen, oracle, start, call)
            what, states = _searched(without, search)
            score.omissions.append(Omission(call, function, what, states))
            tell(score.omissions[-1])
    return score


def calls(workload: Workload) -> dict[str, str]:
    """Every flush and fence that a workload does through segment.memory, with its function."""
    found: dict[str, str] = {}
    with workload.prepared() as ground:
        tape = _core.Tape()
        with ground.attach(tape) as segment:
            recorder = Recorder(segment, tape)
            if workload.recover is not None:
                workload.recover(segment)
            found |= recorder.flushed_at
            recorder.stop()
    recording = workload.record()
    found |= recording.flushed_at
    # What recovery does when there is something to recover shows in its crash states alone.
    explorer = Explorer(recording, PowerCut(), Judge(workload), Search(time.monotonic() + 2.0))
    try:
        explorer._systematic("near")
        for point, state in explorer.good[:: max(len(explorer.good) // 200, 1)]:
            again = explorer.recovery(point, state)
            found |= again.flushed_at if again is not None else {}
    finally:
        explorer.close()
    return found


def _searched(judge: Judge, search: tuple[PowerCut | Kill, int, int, float]) -> tuple[str, int]:
    fault, depth, seed, seconds = search
    try:
        recording = judge.workload.record(omitted=judge.omitted)
    except Exception as error:
        return f"the workload raises {type(error).__name__}: {error}", 0
    until = time.monotonic() + seconds
    explorer = Explorer(recording, fault, judge, Search(until, depth=depth, seed=seed))
    try:
        explorer.explore()
    finally:
        explorer.close()
    what = explorer.failures[0].verdict.what if explorer.failures else ""
    return what, explorer.counts.distinct
