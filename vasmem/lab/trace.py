"""Traces: what was stored, flushed and fenced, in order, as plain data."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vasmem import _core
from vasmem.lab.places import Places
from vasmem.memory import LINE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vasmem.segment import Segment

STORE, STREAM, FLUSH, FENCE, MARK, GROWTH = range(6)
KINDS = ("store", "stream", "flush", "fence", "mark", "growth")
EVENT = np.dtype([("kind", "<u4"), ("site", "<u4"), ("at", "<u8"), ("value", "<u8")])
# Larger segments are not for trying thousands of states.
BASE_MAX_BYTES = 256 << 20


@dataclass
class Trace:
    """What happened to the memory of a segment.

    `base` is its bytes before, all taken for durable. `events` is a numpy array of the fields
    `kind` (an index into KINDS), `site`, `at` and `value`: the word that was stored, the bytes that
    were flushed or grown, the number of a mark. `sites` are places in the caller's source, the
    first for "elsewhere". `flushes` is false where the medium asks for none, so that only the
    order of the stores means anything.
    """

    base: bytes = b""
    events: NDArray[Any] = field(default_factory=lambda: np.empty(0, EVENT))
    sites: list[str] = field(default_factory=lambda: [""])
    places: Places = field(default_factory=Places)
    flushes: bool = True

    def __len__(self) -> int:
        return len(self.events)

    def describe(self, number: int) -> str:
        """One event in words."""
        kind, site, at, value = self.events[number].tolist()
        where = f"  ({self.sites[site]})" if self.sites[site] else ""
        if kind in (STORE, STREAM):
            return f"{KINDS[kind]} {self.places.name(at)} = {_number(value)}{where}"
        if kind == FLUSH:
            lines = value // LINE_BYTES
            many = "" if lines == 1 else f", {lines} lines"
            return f"flush {self.places.line(at)}{many}{where}"
        return KINDS[kind] + where

    def unseen(self, now: bytes) -> NDArray[Any]:
        """Offsets of words that are not what its stores leave."""
        words = np.frombuffer(self.base, "<u8").copy()
        kinds = self.events["kind"]
        stores = self.events[(kinds == STORE) | (kinds == STREAM)]
        # Of several values for one word the last one stays.
        words[stores["at"] // 8] = stores["value"]
        found = np.frombuffer(now, "<u8")
        return np.flatnonzero(found[: len(words)] != words[: len(found)]) * 8

    def lines(self) -> dict[int, int]:
        """How often each line was stored to, by its offset."""
        kinds = self.events["kind"]
        stored = self.events["at"][(kinds == STORE) | (kinds == STREAM)]
        lines, times = np.unique(stored // LINE_BYTES * LINE_BYTES, return_counts=True)
        return dict(zip(lines.tolist(), times.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain data without the base."""
        return {
            "events": [[KINDS[kind], site, at, value] for kind, site, at, value in self.events],
            "sites": self.sites,
            "places": self.places.to_json(),
            "flushes": self.flushes,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], base: bytes) -> Trace:
        """What `to_json` gave, over its base."""
        rows = [(KINDS.index(kind), site, at, value) for kind, site, at, value in data["events"]]
        events = np.array(rows, EVENT) if rows else np.empty(0, EVENT)
        places = Places.from_json(data["places"])
        return cls(base, events, list(data["sites"]), places, data["flushes"])


def _number(value: int) -> str:
    return str(value) if value < 1 << 16 else f"{value:#x}"


class Recorder:
    """Fills a trace from a segment's tap."""

    def __init__(self, segment: Segment, tape: _core.Tape, omitted: str | None = None) -> None:
        self._segment = segment
        self._tape = tape
        self._sites: dict[str, int] = {"": 0}
        self._omitted = omitted
        self.flushed_at: dict[str, str] = {}
        segment.memory._watch = self._watch

    def _watch(self, what: str, _offset: int, _size: int) -> bool:
        """Notes where in the caller's source this is, and whether it is to happen."""
        frame = sys._getframe(2)
        while frame.f_back and frame.f_code.co_filename.endswith(_OURS):
            frame = frame.f_back
        site = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        self._tape.at_site(self._sites.setdefault(site, len(self._sites)))
        if what in ("flush", "fence"):
            self.flushed_at[f"{what} at {site}"] = frame.f_code.co_name
            return f"{what} at {site}" != self._omitted
        return True

    def trace(self, base: bytes, into: Trace | None = None) -> Trace:
        """All that was recorded."""
        trace = Trace() if into is None else into
        backed = self._segment._core.snapshot() if not self._segment_closed() else base
        trace.base = base.ljust(len(backed), b"\0")
        events = self._tape.events(trace.base)
        trace.events = np.frombuffer(events, EVENT)
        trace.sites = list(self._sites)
        trace.places = Places.of(self._segment, backed)
        trace.flushes = self._segment._core.needs_flush
        return trace

    def whole(self, base: bytes, into: Trace | None = None) -> Trace:
        """All that was recorded. Raises RuntimeError if the segment has changed in other ways."""
        trace = self.trace(base, into)
        if not self._segment_closed():
            unseen = trace.unseen(self._segment._core.snapshot())
            if len(unseen):
                raise RuntimeError(
                    f"{len(unseen)} words of {self._segment.name!r} changed while it was recorded "
                    f"and nobody was seen to store them, the first at "
                    f"{trace.places.name(int(unseen[0]))}: what numpy writes through a view or "
                    "another process writes is not recorded, and its crashes would be wrong"
                )
        return trace

    def _segment_closed(self) -> bool:
        try:
            self._segment._core.load_word(0)
        except Exception:
            return True
        return False

    def stop(self) -> None:
        """Watches no more."""
        self._segment.memory._watch = None


_OURS = ("vasmem/memory.py", "vasmem/lab/trace.py")


@contextmanager
def record(segment: Segment) -> Iterator[Trace]:
    """Record what this process does to a segment; the trace is complete when the block ends.

    One thread at a time: what others do, or numpy through a view, is not of this trace, and raises
    RuntimeError at the end of the block if it was seen to have changed anything. On `shm` and
    `file` there are no flushes to record, so only the order of stores can be tried: model "eadr".
    """
    size = segment.size
    if size > BASE_MAX_BYTES:
        raise ValueError(
            f"{segment.name!r} has {size} bytes, at most {BASE_MAX_BYTES} can be tried"
        )
    tape, trace = _core.Tape(), Trace()
    base = segment._core.snapshot()
    recorder = Recorder(segment, tape)
    segment._core.tap(tape)
    try:
        yield trace
    finally:
        recorder.stop()
        segment._core.tap(None)
    recorder.whole(base, trace)
