"""Salvage: what can still be read of a damaged segment, in a new one."""

from __future__ import annotations

from dataclasses import dataclass

from vasmem import _core
from vasmem.backends import Opened
from vasmem.opening import MODE, SIZE, find
from vasmem.promises import Promises
from vasmem.sizes import parse_size


@dataclass(frozen=True)
class SalvagedStructure:
    """What became of one structure.

    `copied` entries are in the new segment. `lost` places could not be read, each a key, or a part
    of the structure that holds some. `reasons` says why, as `Segment.check` does: (number of the
    invariant, place, text); of very many only the first.
    """

    name: str
    kind: str
    copied: int
    lost: int
    reasons: list[tuple[int, str, str]]


@dataclass(frozen=True)
class SalvageReport:
    """What became of a segment: its structures, and `lost` places of all of it.

    `reasons` is about the list of structures alone: names that could not be read.
    """

    structures: list[SalvagedStructure]
    lost: int
    reasons: list[tuple[int, str, str]]


def salvage(
    source: str, target: str, *, mode: int = MODE, owner: str | None = None
) -> SalvageReport:
    """Copy what can still be read of a damaged segment into a new one, and tell what was lost.

    The source may be one that raises NeedsRecovery or SegmentCorrupted; it is only read, and
    nobody should write it meanwhile. `owner` is as for `attach`, `mode` as for `create`. Keys are
    recognised by their hash; a value is checked as far as its encoding allows, that of a raw map
    not at all. After a power failure entries may be of different moments, deleted ones among them.

    Raises SegmentExists, SegmentFull, SegmentNotFound, PermissionDenied; FormatMismatch and
    SegmentCorrupted where not even the header is readable. No segment is made then.
    """
    new, new_backend, _ = find(target)
    old, old_backend, _ = find(source)
    opened = old_backend.open(old.path, readonly=True, owner=owner)
    try:
        damaged = _core.Damaged(opened.fd, name=str(old))
    finally:
        opened.close()
    reports = []

    def fill(made: Opened) -> None:
        reports.append(_copy(damaged, made, new.url, new_backend.promises))

    new_backend.create(new.path, mode=mode, fill=fill).close()
    return reports[0]


def _copy(damaged: _core.Damaged, made: Opened, url: str, promises: Promises) -> SalvageReport:
    """Fill the new segment, which is empty and has no name yet."""
    max_size = damaged.max_size
    _core.Segment.format(
        made.fd,
        name=url,
        size=min(parse_size(SIZE), max_size),
        max_size=max_size,
        flush=promises.flush,
        marked=promises.marked,
        huge=False,
        media_fd=made.media_fd,
    )
    segment = _core.Segment(
        made.fd,
        made.lock_fd,
        name=url,
        readonly=False,
        flush=promises.flush,
        marked=promises.marked,
        huge=False,
        media_fd=made.media_fd,
    )
    from vasmem.dtypes import described  # with numpy, which takes longer than all of vasmem

    try:
        rows, (lost, reasons) = damaged.copy_to(segment, described)
    finally:
        segment.close()
    structures = [
        SalvagedStructure(name, kind, copied, lost_here, reasons_here)
        for name, kind, copied, (lost_here, reasons_here) in rows
    ]
    return SalvageReport(structures, lost + sum(row.lost for row in structures), reasons)
