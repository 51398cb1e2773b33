"""Names for places of a segment, so that reports speak of fields and not of addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vasmem.memory import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vasmem.segment import Segment

HEADER_BYTES = 16 << 10
LANE_BYTES = 16 << 10
WORD_BYTES = 8
# Where the header has the start of its lanes, and of the heap.
LANES_AT_WORD, HEAP_AT_WORD = 64, 88


@dataclass
class Places:
    """The areas of a segment with their fields, and where its own parts begin."""

    areas: dict[str, tuple[int, int, dict[str, tuple[int, int]]]] = field(default_factory=dict)
    lanes_at: int = HEADER_BYTES
    heap_at: int = 1 << 62

    @classmethod
    def of(cls, segment: Segment) -> Places:
        """Those of an attached segment, with the areas that were opened through it."""
        memory = segment.memory
        core = segment._core
        found = {area.name: (area.at, area.size, area.fields) for area in memory.areas}
        return cls(found, core.load_word(LANES_AT_WORD), core.load_word(HEAP_AT_WORD))

    def name(self, at: int) -> str:
        """The word at an offset."""
        for area, (start, size, fields) in self.areas.items():
            if start <= at < start + size:
                return _in_area(area, at - start, fields)
        if at < HEADER_BYTES:
            return f"header+{at:#x}"
        if at < self.heap_at:
            lane, inside = divmod(at - self.lanes_at, LANE_BYTES)
            return f"lane{lane}+{inside:#x}"
        return f"heap+{at - self.heap_at:#x}"

    def line(self, at: int) -> str:
        """The line at an offset, by the fields that it holds."""
        start = at // LINE_BYTES * LINE_BYTES
        for area, (first, size, fields) in self.areas.items():
            if first <= start < first + size:
                inside = start - first
                held = [
                    name
                    for name, (place, bytes_) in fields.items()
                    if place < inside + LINE_BYTES and place + bytes_ > inside
                ]
                if not held:
                    return f"{area}+{inside:#x}"
                more = ", ..." if len(held) > 3 else ""
                return f"{area}.{', '.join(held[:3])}{more}"
        return self.name(start)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"areas": self.areas, "lanes_at": self.lanes_at, "heap_at": self.heap_at}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Places:
        """What `to_json` gave."""
        areas = {
            name: (at, size, {key: (int(a), int(b)) for key, (a, b) in fields.items()})
            for name, (at, size, fields) in data["areas"].items()
        }
        return cls(areas, data["lanes_at"], data["heap_at"])


def _in_area(area: str, offset: int, fields: dict[str, tuple[int, int]]) -> str:
    for name, (place, size) in fields.items():
        if place <= offset < place + size:
            inside = offset - place
            return f"{area}.{name}" + (f"[{inside // WORD_BYTES}]" if size > WORD_BYTES else "")
    return f"{area}+{offset:#x}"
