"""Cases: a failure in one small file, which is opened, replayed and compared like any segment."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vasmem import _core
from vasmem.lab import faults
from vasmem.lab.explorer import Failure
from vasmem.lab.ground import Ground
from vasmem.lab.judge import Judge, Verdict, limited
from vasmem.lab.reading import contents, difference, printed
from vasmem.lab.shrink import Line, Small, shrink
from vasmem.lab.trace import KINDS, Trace
from vasmem.lab.workloads import Promise, Recording, Workload

if TYPE_CHECKING:
    from vasmem.segment import Segment

FORMAT = "vasmem-crash-case-1"


@dataclass
class Case:
    """A crash that leads to something wrong: contents, a short trace, and what was durable of it.

    `legal` are the contents that a crash might leave, as text; `origin` says where the workload is:
    its file and name, and a pytest node if it is in a test.
    """

    what: str
    details: list[str]
    words: str
    legal: list[str]
    fault: faults.Fault
    crashes: int
    trace: Trace
    state: list[int]
    lines: list[Line]
    ops: list[Any] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)
    found: str = ""
    path: Path | None = None

    @classmethod
    def of(cls, small: Small, workload: Workload, pytest_node: str = "") -> Case:
        """The case of a shrunk failure."""
        failure = small.failure
        origin = {"file": workload.file, "workload": workload.name, "pytest": pytest_node}
        return cls(
            what=failure.verdict.what,
            details=list(failure.verdict.details),
            words=failure.promise.words,
            legal=[printed(each) for each in failure.promise.legal],
            fault=failure.fault,
            crashes=failure.crashes,
            trace=small.trace,
            state=small.state,
            lines=small.lines,
            ops=[list(op) for op in failure.recording.ops],
            origin={key: value for key, value in origin.items() if value},
            found=printed(failure.verdict.found),
        )

    def events(self) -> list[str]:
        """The trace in words, an event each."""
        return [self.trace.describe(number) for number in range(len(self.trace))]

    def guilty(self) -> list[str]:
        """The lines that matter, in words."""
        told = []
        for line in self.lines:
            if line.guilty:
                name = self.trace.places.line(line.at)
                if line.kept == 0:
                    how = f"still old ({line.stores} stores missing)"
                elif line.kept == line.stores:
                    how = "new"
                else:
                    how = f"has {line.kept} of {line.stores} stores"
                told.append(f"line {name} {how}")
        return told

    def advice(self) -> str:
        """What would have helped, as far as the lines tell."""
        old = [line for line in self.lines if line.guilty and line.kept < line.stores]
        new = [line for line in self.lines if line.guilty and line.kept]
        if not isinstance(self.fault, faults.PowerCut) or not old or not new:
            return ""
        late = ", ".join(sorted({self.trace.places.line(line.at) for line in old}))
        early = ", ".join(sorted({self.trace.places.line(line.at) for line in new}))
        if late == early:
            return f"stores to {late} may persist in part: make them one store, or log them"
        return f"{early} may persist before {late}: flush and fence {late} first"

    @contextmanager
    def image(self) -> Iterator[Ground]:
        """The contents that the crash left, in a place of their own."""
        with Ground() as ground:
            power = isinstance(self.fault, faults.PowerCut)
            model = self.fault.model if isinstance(self.fault, faults.PowerCut) else "eadr"
            bench = _core.Bench(
                ground.fd, self.trace.base, self.trace.events.tobytes(), model=model, power=power
            )
            bench.put(len(self.trace), self.state)
            yield ground

    @contextmanager
    def open(self) -> Iterator[Segment]:
        """The segment that the crash left, recovered by vasmem and nobody else."""
        with self.image() as ground, ground.attach() as segment:
            yield segment

    def replay(self, workload: Workload | None = None) -> Verdict:
        """Judge it again, by its workload, which a structure of one's own needs. The verdict."""
        if isinstance(self.fault, faults.Damage):
            from vasmem.lab import mutants  # which makes cases

            outcome = mutants.look(self.trace.base, workload or Workload(_nothing), None)
            return Verdict("" if outcome in mutants.EXPECTED else outcome)
        promise = Promise([_Printed(text) for text in self.legal], self.words)
        with self.image() as ground, limited() as start:
            return Judge(workload or Workload(_nothing), start=start)(ground.attach, promise)

    def shrunk(self, workload: Workload, seconds: float) -> Case:
        """Made smaller, if so much time finds a way; operations are left out where it can be."""
        promise = Promise([_Printed(text) for text in self.legal], self.words)
        recording = Recording(self.trace, [tuple(op) for op in self.ops], [(0, promise)])
        if not isinstance(self.fault, (faults.PowerCut, faults.Kill)):
            raise ValueError(f"a case of {self.fault} has no trace to make smaller")
        with limited() as start:
            judge = Judge(workload, start=start)
            failure = Failure(
                self.replay(workload),
                recording,
                len(self.trace),
                list(self.state),
                promise,
                self.fault,
                self.crashes,
            )
            small = shrink(failure, judge, seconds)
        made = Case.of(small, workload, self.origin.get("pytest", ""))
        return made if len(made.trace) <= len(self.trace) else self

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        base = base64.b85encode(zlib.compress(self.trace.base, 9)).decode()
        return {
            "format": FORMAT,
            "what": self.what,
            "details": self.details,
            "when": self.words,
            "crashes": self.crashes,
            "fault": faults.to_json(self.fault),
            "ops": json.loads(json.dumps(self.ops, default=repr)),
            "origin": self.origin,
            "legal": self.legal,
            "found": self.found,
            "lines": [vars(line) for line in self.lines if line.guilty],
            "state": self.state,
            "trace": _slim(self.trace),
            "base": base,
        }

    def save(self, path: Path) -> Path:
        """Write it there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        self.path = path
        return path

    @classmethod
    def load(cls, path: Path | str) -> Case:
        """Read what `save` wrote. Raises ValueError for anything else."""
        path = Path(path)
        try:
            data = json.loads(path.read_text())
            if data["format"] != FORMAT:
                raise ValueError(f"{path} is of format {data['format']!r}, not {FORMAT!r}")
            base = zlib.decompress(base64.b85decode(data["base"]))
            return cls(
                what=data["what"],
                details=data["details"],
                words=data["when"],
                legal=data["legal"],
                fault=faults.from_json(data["fault"]),
                crashes=data["crashes"],
                trace=Trace.from_json(data["trace"], base),
                state=data["state"],
                lines=[Line(**line) for line in data["lines"]],
                ops=data["ops"],
                origin=data["origin"],
                found=data["found"],
                path=path,
            )
        except (KeyError, TypeError, json.JSONDecodeError, zlib.error) as error:
            raise ValueError(f"{path} is no crash case: {error!r}") from None


def _nothing(_: Segment) -> None:
    """Does nothing."""


class _Printed:
    """Equal to whatever prints like this."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        return printed(other) == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return self._text


def _slim(trace: Trace) -> dict[str, Any]:
    """Only the sites that its events are at."""
    used = sorted({0, *trace.events["site"].tolist()})
    numbers = {site: number for number, site in enumerate(used)}
    events = [
        [KINDS[kind], numbers[site], at, value] for kind, site, at, value in trace.events.tolist()
    ]
    return {
        "events": events,
        "sites": [trace.sites[site] for site in used],
        "places": trace.places.to_json(),
        "flushes": trace.flushes,
    }


def compared(one: Segment, other: Segment) -> list[str]:
    """How the contents of one segment differ from those of another, a line each."""
    return difference(contents(one), contents(other))
