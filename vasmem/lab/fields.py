"""Names of the engine's own places: words of the header and the lanes, lines of granules."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

# As in the engine's layout, from which docs/design.md has them too.
HEADER_BYTES, LANE_BYTES, GRANULE_BYTES, REGION_BYTES = 16 << 10, 16 << 10, 16 << 10, 1 << 20
LINE_BYTES, WORD_BYTES, GRANULES_PER_MAP = 64, 8, 256
# Where the header has the start of its lanes, and of the heap.
LANES_AT_WORD, HEAP_AT_WORD = 64, 88
HEADER = {
    0: "magic",
    8: "format",
    16: "incompatible",
    24: "read_compatible",
    32: "uuid",
    48: "seed",
    56: "size_limit",
    64: "lanes_at",
    72: "lane_bytes",
    80: "lanes",
    88: "heap_at",
    96: "directory_at",
    248: "checksum",
    256: "backed",
    320: "incarnation",
    384: "boot",
    448: "token",
    456: "pins",
    512: "lanes_used",
    576: "floor",
    640: "mark",
    704: "home",
}
TAIL = LANE_BYTES - LINE_BYTES
LANE = {
    0: "state",
    8: "sum",
    16: "counts",
    24: "continuation",
    32: "entries",
    TAIL: "pid",
    TAIL + 8: "kept",
    TAIL + 16: "kept_bytes",
    TAIL + 24: "pinned",
    TAIL + 32: "deferred",
    TAIL + 40: "claims",
}
KINDS = {
    63: "large block",
    64: "directory",
    65: "hash header",
    66: "hash directory",
    67: "hash table",
    68: "hash table",
    69: "value",
    70: "tree header",
    71: "tree node",
    72: "array",
    73: "counter",
    74: "lock",
    75: "queue header",
    76: "queue table",
    77: "tree leaf",
    80: "typed table",
    81: "typed table",
    82: "typed table",
    83: "typed table",
    84: "typed table",
}
_FIRST_NODE_KIND = 64
# Bytes from one version word to the next, where that is not a line.
_NODE_BYTES = {71: 1024, 77: 4096, 81: 128, 82: 256, 83: 512, 84: 1024}


def of_header(at: int) -> str:
    """The word of the header at an offset."""
    return f"header.{_field(HEADER, at)}"


def of_lane(offset: int) -> str:
    """The word of the lanes, so far from the first one."""
    lane, inside = divmod(offset, LANE_BYTES)
    return f"lane{lane}.{_field(LANE, inside)}"


def _field(fields: dict[int, str], at: int) -> str:
    starts = list(fields)
    start = starts[bisect_right(starts, at) - 1]
    word = (at - start) // WORD_BYTES
    return f"{fields[start]}[{word}]" if word or fields[start] == "entries" else fields[start]


def _region(granule: int) -> tuple[int, int]:
    """First granule, and number of granules, of the region that has this one of the heap."""
    per_region = REGION_BYTES // GRANULE_BYTES
    unit = granule // per_region
    many = per_region << max(unit.bit_length() - 1, 0)
    return (many if unit else 0), many


def kinds(data: bytes, heap_at: int) -> dict[int, int]:
    """Of each granule of the heap that is used, its kind."""
    found: dict[int, int] = {}
    first = 0
    while (start := heap_at + first * GRANULE_BYTES) < len(data):
        _, many = _region(first)
        maps = -(-many // GRANULES_PER_MAP)
        words = np.frombuffer(data[start : start + (maps + many) * LINE_BYTES], "<u8")
        for granule in np.flatnonzero(words[maps * 8 + 1 :: 8] & 0xFF).tolist():
            found[first + granule] = int(words[(maps + granule) * 8 + 1]) & 0xFF
        first += many
    return found


def of_heap(offset: int, kinds: dict[int, int]) -> str:
    """The word of the heap, so far from its start."""
    granule, inside = divmod(offset, GRANULE_BYTES)
    first, many = _region(granule)
    maps = -(-many // GRANULES_PER_MAP)
    number, within = divmod(offset - first * GRANULE_BYTES, LINE_BYTES)
    if number < maps + many:
        if number < maps:
            return f"map{first // GRANULES_PER_MAP + number}{_word(within)}"
        name = f"descriptor{first + number - maps}"
        return f"{name}.kind" if within == WORD_BYTES else f"{name}{_word(within)}"
    kind = kinds.get(granule, 0)
    name = KINDS.get(kind, "block" if kind else "heap")
    if kind < _FIRST_NODE_KIND:
        return f"{name} {granule}+{inside:#x}"
    node, within = divmod(inside, _NODE_BYTES.get(kind, LINE_BYTES))
    return f"{name} {granule}.{node}{_word(within)}"


def _word(within: int) -> str:
    return f"[{within // WORD_BYTES}]" if within else ".version"
