"""What the small structures of the zoo have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vasmem.lab.workloads import Workload
from vasmem.memory import LINE_BYTES, Area

if TYPE_CHECKING:
    from vasmem.segment import Segment

MASK = (1 << 64) - 1


class Structure:
    """A structure in an area, right or with one defect.

    Its operations are methods that take an area. `read` tells what it holds, `recover` is called
    after a crash, `verify` raises if something is broken.
    """

    fields: ClassVar[dict[str, int | tuple[int, int]]] = {}
    ops: ClassVar[Sequence[tuple[Any, ...]]] = ()

    def __init__(self, defect: str = "") -> None:
        self.defect = defect

    def has(self, defect: str) -> bool:
        """Whether it is built with that defect."""
        return self.defect == defect

    def area(self, segment: Segment) -> Area:
        """Where it is."""
        name = type(self).__name__.lower()
        return segment.memory.area(name, 4096, fields=self.fields)

    def prepare(self, area: Area) -> None:
        """Makes a fresh one of zeros."""

    def read(self, area: Area) -> Any:
        """What it holds; its bytes, unless it says something else."""
        return area.read(0, area.size)

    def recover(self, area: Area) -> None:
        """Repairs it after a crash."""

    def verify(self, area: Area) -> None:
        """Raises AssertionError if it is broken."""

    def workload(self) -> Workload:
        """Its operations, to be crashed."""

        def run(segment: Segment, name: str, *arguments: Any) -> None:
            getattr(self, name)(self.area(segment), *arguments)

        return Workload(
            run,
            name=f"{type(self).__name__.lower()}{f'-{self.defect}' if self.defect else ''}",
            segment="128K",
            setup=lambda segment: self.prepare(self.area(segment)),
            ops=self.ops,
            recover=lambda segment: self.recover(self.area(segment)),
            contents=lambda segment: self.read(self.area(segment)),
            check=lambda segment: self.verify(self.area(segment)),
        )


def line(number: int) -> int:
    """Offset of a line."""
    return number * LINE_BYTES


def checksum(*words: int) -> int:
    """A number that depends on all of them; never 0."""
    total = 0x9E3779B97F4A7C15
    for word in words:
        total = ((total ^ word) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & MASK
        total ^= total >> 29
    return total or 1
