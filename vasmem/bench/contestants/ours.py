"""vasmem itself: every backend, hash map and B-tree."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import Any

from vasmem import opening
from vasmem.bench.contestants.base import Contestant, Site
from vasmem.bench.contestants.mapping import MappingStore

# Segments start small, so that loading pays for growth as a user's program does.
START_BYTES = 64 << 20
# Enough for the largest run; only what is written takes memory.
MAX_BYTES = 8 << 30


def url(backend: str, site: Site, name: str) -> str:
    """Of the segment that `made` makes there."""
    if backend in ("file", "dax"):
        return f"{backend}://{site.directory / name}"
    return f"{backend}://bench-{site.directory.name}-{name}"


class Structure(MappingStore):
    """A raw hash map or B-tree of a segment."""

    def __init__(self, name: str, segment: Any, kind: str, close: Any) -> None:
        super().__init__(name, getattr(segment, kind)("bench", raw=True), close)
        self.segment = segment
        if kind == "btree":
            items = self.map.items()
            self.scan_one = lambda key, length: deque(islice(items.irange(key), length), maxlen=0)

    def commit_durably(self, keys: list[bytes], values: list[bytes]) -> None:
        with self.segment.transaction():
            self.map.put_many(keys, values)
        self.segment.sync()


def made(name: str, backend: str, kind: str, **options: Any) -> Any:
    """A function that makes a store in a new segment."""

    def make(site: Site) -> Structure:
        at = url(backend, site, name)
        segment = opening.create(at, size=START_BYTES, max_size=MAX_BYTES, **options)

        def close() -> None:
            segment.close()
            opening.remove(at)

        return Structure(name, segment, kind, close)

    return make


def attached(name: str, backend: str, kind: str, **options: Any) -> Any:
    """A function that attaches what `made` made."""

    def attach(site: Site) -> Structure:
        segment = opening.attach(url(backend, site, name), **options)
        return Structure(name, segment, kind, segment.close)

    return attach


def contestant(
    name: str, settings: str, survives: str, backend: str, kind: str, **options: Any
) -> Contestant:
    emulate = {"emulate": True} if options.get("emulate") else {}
    return Contestant(
        name,
        settings,
        survives,
        made(name, backend, kind, **options),
        attached(name, backend, kind, **emulate),
        ordered=kind == "btree",
        missing=lambda: unavailable(backend),
    )


def unavailable(backend: str) -> str | None:
    """Why a backend cannot be used here."""
    if backend != "vas":
        return None
    return None if os.path.exists("/dev/vas") else "load the kernel module, see docs/vas.md"


KILLS = "kill -9 of any process at any instruction"
OURS = [
    contestant("vasmem", "raw HashMap on shared memory, as created", KILLS, "shm", "hashmap"),
    contestant(
        "vasmem-4k", "the same with huge_pages='never'", KILLS, "shm", "hashmap", huge_pages="never"
    ),
    contestant(
        "vasmem-file",
        "raw HashMap in a MAP_SHARED file on the same tmpfs",
        f"{KILLS}; power, once synced and not written since",
        "file",
        "hashmap",
    ),
    contestant(
        "vasmem-dax",
        "raw HashMap on emulated persistent memory: lines are counted as they are flushed",
        f"{KILLS}; power failures, in the emulation",
        "dax",
        "hashmap",
        emulate=True,
    ),
    contestant("vasmem-btree", "raw BTree on shared memory", KILLS, "shm", "btree"),
]
