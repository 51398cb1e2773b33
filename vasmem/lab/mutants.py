"""Damage: bytes of a segment change; who opens it may be refused, but not killed or misled."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vasmem import _core
from vasmem.errors import VasmemError
from vasmem.lab.case import Case
from vasmem.lab.explorer import Counts, Search
from vasmem.lab.faults import KINDS, Damage
from vasmem.lab.ground import Ground
from vasmem.lab.judge import Judge
from vasmem.lab.reading import same
from vasmem.lab.trace import Trace
from vasmem.lab.workloads import Diary, Workload

LINE, PAGE = 64, 4096
# Seconds for one mutant; nothing here takes a tenth of that.
HANG_S = 5.0
ERROR, RIGHT, SILENT = EXPECTED = ("error", "right", "silent")


@dataclass
class Damaged:
    """What came of mutants: `outcomes` are how often they were noticed ("error"), did no harm
    ("right"), or read as something else without an error ("silent", which checksums alone would
    find); `findings` are signals, hangs, and exceptions that are not of vasmem.
    """

    tried: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[int, str, str]] = field(default_factory=list)

    def check(self) -> Damaged:
        """Itself, if nothing was found. Raises AssertionError."""
        if self.findings:
            told = "\n".join(f"mutant {n}, {kind}: {what}" for n, kind, what in self.findings[:5])
            raise AssertionError(f"{len(self.findings)} of {self.tried} mutants:\n{told}")
        return self


def mutant(data: bytes, number: int, kinds: Sequence[str], seed: int = 0) -> tuple[str, bytes]:
    """Mutant `number` of some bytes: what was done, and what came of it."""
    rng = random.Random(f"{seed}/{number}")
    kind = kinds[number % len(kinds)]
    changed = bytearray(data)
    # Most of a segment is zeros that nobody has used: damage is where something is.
    used = [at for at in range(0, len(data), LINE) if data[at : at + LINE].strip(b"\0")] or [0]
    at = rng.choice(used)
    if kind == "bit":
        place = at + rng.randrange(LINE)
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == "line":
        changed[at : at + LINE] = bytes(LINE) if rng.random() < 0.5 else rng.randbytes(LINE)
    elif kind == "page":
        page = at // PAGE * PAGE
        changed[page : page + PAGE] = bytes(PAGE)
    elif kind == "truncate":
        del changed[rng.randrange(len(data) // PAGE) * PAGE :]
    elif kind == "extend":
        changed += bytes(PAGE * rng.randrange(1, 64))
    else:
        one, other = at // PAGE * PAGE, rng.choice(used) // PAGE * PAGE
        here, there = data[one : one + PAGE], data[other : other + PAGE]
        changed[one : one + PAGE], changed[other : other + PAGE] = there, here
    return kind, bytes(changed)


def look(data: bytes, workload: Workload, truth: Any) -> str:
    """Open damaged bytes and read everything: an outcome, or what is wrong with it."""
    try:
        with Ground.holding(data) as ground, ground.attach() as segment:
            segment.timeout = 1.0
            if workload.recover is not None:
                workload.recover(segment)
            found = workload.read(segment)
            broken = segment.check()
    except VasmemError:
        return ERROR
    except Exception as error:
        if workload.contents is not None:
            return ERROR  # what its own code raises is its way to notice
        return f"{type(error).__name__}: {error}"
    if broken:
        return ERROR
    return RIGHT if same(found, truth) else SILENT


def damage(
    segment: Path | str | bytes,
    kinds: Sequence[str] = KINDS,
    n: int = 1000,
    *,
    seed: int = 0,
    workload: Workload | None = None,
    seconds: float = 3600.0,
) -> Damaged:
    """Open `n` mutants of a segment's file, each in a process that may die of it.

    `kinds` are of "bit", "line", "page", "truncate", "extend" and "swap" (of pages). Nobody may
    have the segment open for writing. Raises ValueError for other kinds.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no kind of damage {kind!r}: there are {', '.join(KINDS)}")
    data = segment if isinstance(segment, bytes) else Path(segment).read_bytes()
    chosen = workload or Workload(_nothing)
    with Ground.holding(data) as ground, ground.attach() as sound:
        truth = chosen.read(sound)
    done, counted = Damaged(), Counter[str]()
    until = time.monotonic() + seconds
    for number, kind, outcome in _outcomes(data, chosen, truth, (list(kinds), n, seed, until)):
        done.tried += 1
        if outcome in EXPECTED:
            counted[outcome] += 1
        else:
            counted["other"] += 1
            done.findings.append((number, kind, outcome))
    done.outcomes = dict(counted)
    return done


def _nothing(_: object) -> None:
    """Does nothing."""


def _outcomes(
    data: bytes, workload: Workload, truth: Any, plan: tuple[list[str], int, int, float]
) -> Iterator[tuple[int, str, str]]:
    kinds, n, seed, until = plan
    number = 0
    while number < n and time.monotonic() < until:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _try_all(data, workload, truth, (kinds, n, seed, number), writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            while time.monotonic() < until:
                ready, _, _ = select.select([lines], [], [], HANG_S)
                line = lines.readline() if ready else b"hang"
                if not line.endswith(b"\n"):
                    break
                yield number, kinds[number % len(kinds)], line.decode(errors="replace").strip()
                number += 1
        hung = line == b"hang"
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL
        if number < n and (hung or died):
            what = "hangs" if hung else f"dies of {signal.Signals(os.WTERMSIG(status)).name}"
            yield number, kinds[number % len(kinds)], what
            number += 1


def _try_all(
    data: bytes, workload: Workload, truth: Any, plan: tuple[list[str], int, int, int], writer: int
) -> None:
    """The child's part; it does not return."""
    kinds, n, seed, first = plan
    try:
        for number in range(first, n):
            outcome = look(mutant(data, number, kinds, seed)[1], workload, truth)
            os.write(writer, " ".join(outcome.split()).encode()[:1000] + b"\n")
    finally:
        os._exit(0)


def explore(fault: Damage, judge: Judge, search: Search) -> tuple[Counts, list[Case]]:
    """The mutants of what a workload leaves."""
    workload = judge.workload
    with workload.prepared() as ground:
        with ground.attach() as segment:
            workload.run(segment, Diary(workload, segment, _core.Tape()), workload.ops)
        data = ground.read()
    seconds = search.until - time.monotonic()
    done = damage(data, fault.kinds, fault.n, seed=search.seed, workload=workload, seconds=seconds)
    counts = Counts(exist=fault.n, drawn=done.tried, distinct=done.tried, random=done.tried)
    counts.points, counts.failures = 1, len(done.findings)
    cases = []
    for number, kind, what in done.findings[:1]:
        trace = Trace(mutant(data, number, fault.kinds, search.seed)[1])
        words = f"mutant {number}, {kind}"
        case = Case(f"{words}: {what}", [], words, [], fault, 1, trace, [], [])
        case.origin = {"file": workload.file, "workload": workload.name}
        cases.append(case)
    return counts, cases
