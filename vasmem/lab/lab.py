"""The lab put together: a workload is recorded, its crashes tried, failures shrunk and kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vasmem.lab import enospc, mutants
from vasmem.lab.case import Case
from vasmem.lab.explorer import STRATEGIES, Counts, Explorer, Search, Strategy
from vasmem.lab.faults import Damage, Enospc, Fault, Kill, PowerCut
from vasmem.lab.judge import Judge, Oracle, limited
from vasmem.lab.result import Result, home
from vasmem.lab.shrink import shrink
from vasmem.lab.workloads import Workload, as_workload
from vasmem.lab.workloads import workload as make_workload

CASE_VARIABLE = "VASMEM_LAB_CASE"
Tell = Callable[[str, Counts], None]


def seconds_of(budget: float | str) -> float:
    """Seconds of "20s", "500ms", "2min" or a number. Raises ValueError."""
    if isinstance(budget, (int, float)):
        return float(budget)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min)?\s*", budget)
    if match is None:
        raise ValueError(f"{budget!r} is no time: write '20s', '500ms' or '2min'")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0}[match[2] or "s"]


def explore(
    workload: Workload | Callable[..., Any],
    fault: Fault | Sequence[Fault] | None = None,
    *,
    oracle: Oracle | None = None,
    strategy: Strategy = "auto",
    budget: float | str = "20s",
    seed: int | None = None,
    depth: int = 2,
    then_ops: int = 1,
    near: int = 2,
    report: bool = True,
    folder: Path | str | None = None,
    tell: Tell | None = None,
    pytest_node: str = "",
) -> Result:
    """Try what crashes leave of a workload; `Result.check()` raises if anything is wrong.

    A state is right if its contents, after recovery, are those before or after the operation in
    flight, with all that had returned; if `check()` is empty, and the workload's own check and
    `oracle` agree. `fault` is one or several, a power cut of model "px86" unless said; `budget` is
    the time for all of them. With `depth` 2 the power fails again in recoveries, and in `then_ops`
    operations after them. The same `seed` tries the same, as far as the time reaches. What fails is
    shrunk, and written to `folder` with a picture.
    """
    chosen = as_workload(workload)
    if strategy not in STRATEGIES:
        raise ValueError(f"no strategy {strategy!r}: there are {', '.join(STRATEGIES)}")
    faults = [PowerCut()] if fault is None else _listed(fault)
    result = Result(chosen.name, seed=0 if seed is None else seed)
    again = os.environ.get(CASE_VARIABLE)
    if again and _is_of(case := Case.load(again), chosen, pytest_node):
        return _replayed(result, case, chosen)
    if not faults or depth < 1 or (seconds := seconds_of(budget)) <= 0:
        raise ValueError("nothing would be tried: give a fault, a depth of 1 or 2, and some time")
    each_s = seconds / len(faults)
    with limited() as start:
        judge = Judge(chosen, oracle, start)
        for one in faults:
            begun = time.monotonic()
            search = Search(begun + each_s, strategy, near, depth, then_ops, result.seed)
            if tell is not None:
                search.tell = _telling(tell, str(one))
            counts, cases = _explored(one, judge, search, (result, pytest_node))
            counts.seconds = time.monotonic() - begun
            result.counts[str(one)] = counts
            result.cases += cases
    if result.cases and report:
        _keep(result, Path(folder) if folder is not None else home())
    return result


def _listed(fault: Fault | Sequence[Fault]) -> list[Fault]:
    found = [fault] if isinstance(fault, (PowerCut, Kill, Damage, Enospc)) else list(fault)
    for one in found:
        if not isinstance(one, (PowerCut, Kill, Damage, Enospc)):
            raise TypeError(f"a fault is lab.PowerCut() or one of its like, not {one!r}")
    return found


def _telling(tell: Tell, name: str) -> Callable[[Counts], None]:
    return lambda counts: tell(name, counts)


def _explored(
    fault: Fault, judge: Judge, search: Search, about: tuple[Result, str]
) -> tuple[Counts, list[Case]]:
    if isinstance(fault, Damage):
        return mutants.explore(fault, judge, search)
    if isinstance(fault, Enospc):
        return enospc.explore(judge)
    result, pytest_node = about
    recording = judge.workload.record(omitted=judge.omitted)
    result.trace = recording.trace
    explorer = Explorer(recording, fault, judge, search)
    try:
        explorer.explore()
    finally:
        explorer.close()
    smalls = [shrink(failure, judge) for failure in explorer.failures]
    return explorer.counts, [Case.of(small, judge.workload, pytest_node) for small in smalls]


def _is_of(case: Case, workload: Workload, pytest_node: str) -> bool:
    same_node = case.origin.get("pytest", "") == pytest_node
    return same_node and case.origin.get("workload") == workload.name


def _replayed(result: Result, case: Case, workload: Workload) -> Result:
    """Of a case that is replayed there is nothing else to try."""
    verdict = case.replay(workload)
    result.counts[str(case.fault)] = Counts(1, 1, 1, points=1, failures=int(bool(verdict)))
    if verdict:
        case.what, case.details = verdict.what, list(verdict.details)
        result.cases.append(case)
    return result


def _keep(result: Result, folder: Path) -> None:
    stem = re.sub(r"\W+", "-", result.name).strip("-")
    for number, case in enumerate(result.cases, 1):
        name = f"{stem}.json" if len(result.cases) == 1 else f"{stem}-{number}.json"
        case.save(folder / name)
    from vasmem.lab.report import can_draw, write_report

    if can_draw():
        result.report = write_report(result, folder / f"{stem}.html")


class CrashLab:
    """What the fixture `crashlab` is: workloads, and their exploration, as parts of a test."""

    def __init__(self, pytest_node: str = "", folder: Path | None = None) -> None:
        self._node, self._folder = pytest_node, folder

    def workload(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Decorator that makes a workload; see lab.Workload for the options."""
        return make_workload(function, **options)

    def explore(
        self,
        workload: Workload | Callable[..., Any],
        fault: Fault | Sequence[Fault] | None = None,
        **options: Any,
    ) -> Result:
        """As lab.explore; a case is replayed by running this test again."""
        return explore(
            workload, fault, pytest_node=self._node, **{"folder": self._folder, **options}
        )
