"""What an exploration found, and how much of what there is it has tried."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vasmem.lab import faults
from vasmem.lab.case import Case
from vasmem.lab.explorer import Counts
from vasmem.lab.trace import Trace

# Where cases and reports go; a folder of the current one unless set.
HOME_VARIABLE = "VASMEM_LAB_DIR"
HOME = "vasmem-lab"


def home() -> Path:
    """The folder of cases and reports."""
    return Path(os.environ.get(HOME_VARIABLE) or HOME)


class CrashFound(AssertionError):
    """A crash leads to something wrong; the message has the smallest case and how to see it."""


@dataclass
class Result:
    """Of one workload: what was tried under each fault, and the cases that failed."""

    name: str
    counts: dict[str, Counts] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    report: Path | None = None
    seed: int = 0
    trace: Trace | None = field(default=None, repr=False)

    @property
    def total(self) -> Counts:
        """Of all faults together."""
        total = Counts()
        for counts in self.counts.values():
            total.add(counts)
        return total

    def check(self) -> Result:
        """Itself, if nothing failed. Raises CrashFound, with the smallest case."""
        if self.cases:
            raise CrashFound(self.text())
        return self

    def text(self) -> str:
        """All of it in words."""
        lines: list[str] = []
        for case in self.cases:
            lines += describe(case)
            if case.path is not None:
                lines.append(f"  again: vasmem lab replay {case.path}")
        if self.report is not None:
            lines.append(f"  picture: {self.report}")
        lines += [
            f"  {self.name}, {fault}: {tried(counts)}" for fault, counts in self.counts.items()
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "workload": self.name,
            "seed": self.seed,
            "counts": {
                fault: {**vars(counts), "rate": counts.rate, "bound": counts.bound}
                for fault, counts in self.counts.items()
            },
            "cases": [case.to_json() for case in self.cases],
        }


def tried(counts: Counts) -> str:
    """How much was tried, and what that says."""
    text = f"{counts.exist:.4g} states exist at {counts.points} points, {counts.distinct} distinct "
    text += f"ones tried, {counts.second} of them of second crashes, {counts.rate:.0f}/s"
    if counts.bound is None:
        return f"{text}; all that a first crash may leave"
    text += f"; {counts.exhausted} points exhausted"
    if counts.random and not counts.failures:
        text += f", of random states at most {counts.bound:.2g} fail (95%, rule of three)"
    return text


def describe(case: Case) -> list[str]:
    """A case in words."""
    crash = "a second crash, " if case.crashes > 1 else ""
    lines = [f"{crash}{case.fault}: {case.what}"]
    lines += [f"  {detail}" for detail in case.details]
    if case.ops:
        lines.append("  operations: " + ", ".join(_call(op) for op in case.ops))
    lines += [f"  {guilty}" for guilty in case.guilty()]
    lines += [f"  {number + 1:3} {event}" for number, event in enumerate(case.events())]
    for kind, crash in _CRASHES.items():
        if isinstance(case.fault, kind):
            lines.append(f"      -- {crash} --")
    if advice := case.advice():
        lines.append(f"  {advice}")
    return lines


_CRASHES = {faults.PowerCut: "the power fails", faults.Kill: "the process is killed"}


def _call(op: list[Any]) -> str:
    name, *arguments = op
    return f"{name}({', '.join(map(repr, arguments))})"
