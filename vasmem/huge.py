"""Huge pages: whether to ask for them, and how many there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

HugePages = Literal["never", "try"]

_RANGE = re.compile(r"([0-9a-f]+)-[0-9a-f]+ ")
_HUGE = re.compile(r"(?:ShmemPmdMapped|FilePmdMapped|Shared_Hugetlb): +(\d+) kB")


def wants_huge_pages(huge_pages: HugePages) -> bool:
    """Whether to ask for huge pages. Raises ValueError for what is neither of the two words."""
    if huge_pages not in ("never", "try"):
        raise ValueError(f"huge_pages is 'never' or 'try', not {huge_pages!r}")
    return huge_pages == "try"


def huge_bytes(base_address: int) -> int:
    """Bytes of the mapping that begins there which this process reaches by huge pages now."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := _RANGE.match(line):
            inside = int(match[1], 16) == base_address
        elif inside and (match := _HUGE.match(line)):
            found += int(match[1]) * 1024
    return found
