"""The lab is tried itself: every defect of the zoo is found, and the sound twins are left alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vasmem.lab.faults import Kill, PowerCut
from vasmem.lab.lab import explore
from vasmem.lab.shrink import EVENTS_MAX
from vasmem.lab.zoo import EXHIBITS, Exhibit

# Seconds for one defect, and for each sound structure.
DEFECT_S, SOUND_S = 30.0, 4.0
HEAD = (
    "| structure | pattern | defect | found as | after states | events | seconds |\n"
    "|---|---|---|---|--:|--:|--:|"
)


@dataclass(frozen=True)
class Catch:
    """What came of a defect, or of a sound structure if there is none."""

    name: str
    text: str
    what: str
    states: int
    events: int
    seconds: float
    good: bool
    pattern: str = ""

    def row(self) -> str:
        """A row of the table in docs/crash-lab.md."""
        events = str(self.events) if self.events else ""
        told = (self.name, self.pattern, self.text, self.what, f"{self.states}", events)
        return f"| {' | '.join(told)} | {self.seconds:.1f} |"


def selftest(tell: Callable[[Catch], None], only: str = "") -> bool:
    """Try all of the zoo, or the defects with `only` in their names; whether all is as it must."""
    chosen = [each for each in EXHIBITS if only in f"{each.structure.__name__}-{each.defect}"]
    good = bool(chosen)
    sound = {each.structure: each for each in chosen}
    for exhibit in chosen:
        catch = _caught(exhibit)
        tell(catch)
        good = good and catch.good
    for exhibit in sound.values():
        catch = _left_alone(exhibit)
        tell(catch)
        good = good and catch.good
    return good


def _caught(exhibit: Exhibit) -> Catch:
    begun = time.monotonic()
    result = explore(exhibit.workload(), budget=DEFECT_S, report=False)
    seconds, name = time.monotonic() - begun, exhibit.structure.__name__
    if not result.cases:
        text = f"**not found**: {exhibit.text}"
        return Catch(name, text, "", result.total.distinct, 0, seconds, False, exhibit.pattern)
    case = result.cases[0]
    events = len(case.trace)
    again = bool(case.replay(exhibit.workload()))
    good = events <= EVENTS_MAX and again
    told = (name, exhibit.text, case.what, result.total.distinct, events, seconds)
    return Catch(*told, good, exhibit.pattern)


def _left_alone(exhibit: Exhibit) -> Catch:
    begun = time.monotonic()
    workload = exhibit.workload(right=True)
    result = explore(workload, [PowerCut(), Kill()], budget=2 * SOUND_S, report=False)
    what = result.cases[0].what if result.cases else "nothing, as it must"
    seconds, name = time.monotonic() - begun, exhibit.structure.__name__
    return Catch(name, "none", what, result.total.distinct, 0, seconds, not result.cases)
