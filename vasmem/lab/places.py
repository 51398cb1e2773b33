"""Names for places of a segment, so that reports speak of fields and not of addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vasmem.lab import fields as engine
from vasmem.lab.fields import HEADER_BYTES, HEAP_AT_WORD, LANES_AT_WORD, WORD_BYTES
from vasmem.memory import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vasmem.segment import Segment


@dataclass
class Places:
    """Areas of a segment with their fields, where its own parts begin, and kinds of granules."""

    areas: dict[str, tuple[int, int, dict[str, tuple[int, int]]]] = field(default_factory=dict)
    lanes_at: int = HEADER_BYTES
    heap_at: int = 1 << 62
    kinds: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, segment: Segment, data: bytes) -> Places:
        """Those of an attached segment of these bytes, with the areas opened through it."""
        memory = segment.memory
        core = segment._core
        found = {area.name: (area.at, area.size, area.fields) for area in memory.areas}
        lanes_at, heap_at = core.load_word(LANES_AT_WORD), core.load_word(HEAP_AT_WORD)
        return cls(found, lanes_at, heap_at, engine.kinds(data, heap_at))

    def name(self, at: int) -> str:
        """The word at an offset."""
        for area, (start, size, fields) in self.areas.items():
            if start <= at < start + size:
                return _in_area(area, at - start, fields)
        if at < HEADER_BYTES:
            return engine.of_header(at)
        if at < self.heap_at:
            return engine.of_lane(at - self.lanes_at)
        return engine.of_heap(at - self.heap_at, self.kinds)

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
        return self.name(start).removesuffix(".version")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        parts = {"lanes_at": self.lanes_at, "heap_at": self.heap_at}
        return {"areas": self.areas, **parts, "kinds": list(self.kinds.items())}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Places:
        """What `to_json` gave."""
        areas = {
            name: (at, size, {key: (int(a), int(b)) for key, (a, b) in fields.items()})
            for name, (at, size, fields) in data["areas"].items()
        }
        kinds = {int(granule): int(kind) for granule, kind in data.get("kinds", ())}
        return cls(areas, data["lanes_at"], data["heap_at"], kinds)


def _in_area(area: str, offset: int, fields: dict[str, tuple[int, int]]) -> str:
    for name, (place, size) in fields.items():
        if place <= offset < place + size:
            inside = offset - place
            return f"{area}.{name}" + (f"[{inside // WORD_BYTES}]" if size > WORD_BYTES else "")
    return f"{area}+{offset:#x}"
