"""The list of all segments, as `segments()` and the command line show it."""

from collections.abc import Iterator
from dataclasses import dataclass

from vasmem import backends
from vasmem.errors import BackendUnavailable, VasmemError
from vasmem.names import Target
from vasmem.opening import attach


@dataclass(frozen=True)
class SegmentInfo:
    """What `segments` tells of one segment.

    `size` is the bytes of the medium that it takes, `used` those in use by structures; `attached`
    is the number of processes that write it, those killed included until the next one takes their
    place. Both are None where the caller cannot look. `note` says why, or what else is wrong with
    the segment; None where all is well.
    """

    name: str
    backend: str
    size: int
    used: int | None
    mode: int
    owner: str
    attached: int | None
    note: str | None = None


def segments() -> list[SegmentInfo]:
    """All segments that exist now, of every backend that works on this machine."""
    return [info for name in backends.available() for info in _segments_of(name)]


def _segments_of(backend_name: str) -> Iterator[SegmentInfo]:
    try:
        for found in backends.get(backend_name).list():
            target = Target(backend_name, found.path)
            used, attached, trouble = _look_inside(target)
            yield SegmentInfo(
                name=str(target),
                backend=backend_name,
                size=found.size,
                used=used,
                mode=found.mode,
                owner=found.owner,
                attached=attached,
                note=found.note or trouble,
            )
    except BackendUnavailable:
        return


def _look_inside(target: Target) -> tuple[int | None, int | None, str | None]:
    """Bytes in use, number of writers, and what kept it from being looked at."""
    try:
        with attach(target.url, readonly=True, owner="any") as segment:
            return segment.used, segment.writers, None
    except (VasmemError, ValueError) as error:
        return None, None, str(error)
