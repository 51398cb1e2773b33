"""Crash images of a trace, one after the other: for code of one's own that needs no workload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vasmem import _core
from vasmem.lab.explorer import EVERY_MAX
from vasmem.lab.faults import MODELS, Model
from vasmem.lab.ground import Ground
from vasmem.lab.trace import Trace

if TYPE_CHECKING:
    from vasmem.segment import Segment


@dataclass
class CrashImage:
    """What a crash left, before anybody recovered it; good until the next one is asked for."""

    number: int
    point: int
    state: list[int]
    trace: Trace = field(repr=False)
    _ground: Ground = field(repr=False)
    _lines: list[tuple[int, int]] = field(repr=False)

    @contextmanager
    def attach(self) -> Iterator[Segment]:
        """The segment on it, recovered by vasmem; what is written to it is for nobody else."""
        with self._ground.attach() as segment:
            yield segment

    def save(self, path: Path | str) -> None:
        """Write its bytes to a file."""
        Path(path).write_bytes(self._ground.read())

    def describe(self) -> str:
        """Where the crash was, and which lines were durable how far."""
        told = [
            f"{self.trace.places.line(at)} has {kept} of {stores} stores"
            for (at, stores), kept in zip(self._lines, self.state, strict=True)
        ]
        return f"before event {self.point} of {len(self.trace)}: {'; '.join(told) or 'all durable'}"


class CrashImages:
    """The images of a trace; iterating puts one after the other in place.

    `exist` is how many states there are, `drawn` and `distinct` say how many were looked at so
    far and how many of these were not the same.
    """

    def __init__(self, trace: Trace, model: Model, near: int, seed: int, most: int) -> None:
        if not trace.flushes and model != "eadr":
            raise ValueError(
                f"model {model!r} needs flushes and fences, and this segment's medium asks for "
                "none: record one that is emulated (emulate=True), or try model 'eadr'"
            )
        if model not in MODELS:
            raise ValueError(f"no fault model {model!r}: there are {', '.join(MODELS)}")
        if near not in (1, 2):
            raise ValueError(f"near is 1 or 2, not {near}")
        self.trace, self.model = trace, model
        self._near, self._seed, self._most = near, seed, most
        self.exist, self.drawn, self.distinct = 0.0, 0, 0

    def __iter__(self) -> Iterator[CrashImage]:
        with Ground() as ground:
            bench = _core.Bench(
                ground.fd,
                self.trace.base,
                self.trace.events.tobytes(),
                model=self.model,
                power=self.model != "eadr" or self.trace.flushes,
            )
            points = bench.points()
            self.exist, self.drawn, self.distinct = sum(states for _, states in points), 0, 0
            for point, states in points:
                lines = [(at, len(steps)) for at, steps in bench.pending(point)]
                rounds = [("all", 0)] if states <= min(EVERY_MAX, self._most) else _ROUNDS
                for how, seed in rounds:
                    self.drawn += bench.draw(
                        point, how, near=self._near, most=self._most, seed=self._seed + seed + point
                    )
                    while found := bench.advance(0):
                        self.distinct += 1
                        yield CrashImage(self.distinct, point, found[0], self.trace, ground, lines)
                        bench.restore()


_ROUNDS = [("near", 0), ("random", 1)]


def crash_images(
    trace: Trace, model: Model = "px86", *, near: int = 2, seed: int = 0, most: int = 4096
) -> CrashImages:
    """What a crash anywhere in a trace may leave.

    At points with at most `most` states all of them, at others those in which at most `near` lines
    are neither as old nor as new as all others, and random ones from `seed`. Raises ValueError.
    """
    return CrashImages(trace, model, near, seed, most)
