"""No room: each growth of a segment that a workload asks for is refused once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vasmem import _core
from vasmem.errors import SegmentFull
from vasmem.lab.case import Case
from vasmem.lab.explorer import Counts
from vasmem.lab.faults import Enospc
from vasmem.lab.judge import Judge, Verdict
from vasmem.lab.reading import nearest, printed, same
from vasmem.lab.trace import GROWTH, Trace
from vasmem.lab.workloads import Diary

if TYPE_CHECKING:
    from vasmem.segment import Segment


def explore(judge: Judge) -> tuple[Counts, list[Case]]:
    """Every growth in turn: the operation raises SegmentFull, and nothing has changed."""
    whole = judge.workload.record()
    growths = int(np.count_nonzero(whole.trace.events["kind"] == GROWTH))
    counts, cases = Counts(exist=growths, points=growths, exhausted=growths), []
    for number in range(growths):
        counts.drawn += 1
        counts.distinct += 1
        verdict, data, legal = _refused(judge, number)
        if verdict:
            counts.failures += 1
            words = f"growth {number + 1} of {growths}"
            trace = Trace(data)
            origin = {"file": judge.workload.file, "workload": judge.workload.name}
            case = Case(
                verdict.what, list(verdict.details), words, legal, Enospc(), 1, trace, [], []
            )
            case.origin, case.found = origin, printed(verdict.found)
            cases.append(case)
            break
    return counts, cases


def _refused(judge: Judge, number: int) -> tuple[Verdict, bytes, list[str]]:
    workload = judge.workload
    with workload.prepared() as ground:
        tape = _core.Tape(growths_left=number)
        with ground.attach(tape) as segment:
            diary = Diary(workload, segment, tape)
            try:
                workload.run(segment, diary, workload.ops)
                return Verdict(), b"", []  # it went on with what it had
            except SegmentFull:
                verdict = _unchanged(judge, segment, diary)
            except Exception as error:
                kind = type(error).__name__
                verdict = Verdict(f"without room, {kind} and not SegmentFull", (str(error),))
            finally:
                segment._core.tap(None)
        return verdict, ground.read(), [printed(diary.held)]


def _unchanged(judge: Judge, segment: Segment, diary: Diary) -> Verdict:
    segment._core.tap(None)  # there is room again
    found = judge.workload.read(segment)
    if not same(found, diary.held):
        details = tuple(nearest(found, [diary.held]))
        return Verdict("SegmentFull, and something has changed", details, found)
    if broken := segment.check():
        number, place, text = broken[0]
        return Verdict("SegmentFull, and check() complains", (f"{number} at {place}: {text}",))
    return Verdict()
