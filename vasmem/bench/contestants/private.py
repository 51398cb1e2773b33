"""Dictionaries: of one process, and UltraDict, copied to each."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from typing import Any

from vasmem.bench.contestants.base import Contestant, Site, needs
from vasmem.bench.contestants.mapping import MappingStore
from vasmem.bench.workload import Store


class Sorted(MappingStore):
    """A SortedDict."""

    def __init__(self) -> None:
        from sortedcontainers import SortedDict

        super().__init__("sorteddict", SortedDict())
        self.put_batch = lambda keys, values: self.map.update(zip(keys, values, strict=True))
        self.scan_one = self._scan

    def _scan(self, key: bytes, length: int) -> None:
        mapping = self.map
        pairs = ((found, mapping[found]) for found in mapping.irange(key))
        deque(islice(pairs, length), maxlen=0)


def ultradict(site: Site, *, create: bool) -> Store:
    from UltraDict import UltraDict

    name = "bench" + re.sub(r"\W", "", site.directory.name)
    options: dict[str, Any] = {"name": name, "shared_lock": True, "full_dump_size": 64 << 20}
    mapping = UltraDict(create=create, buffer_size=4 << 20, auto_unlink=create, **options)
    return MappingStore("ultradict", mapping, mapping.close)


PRIVATE = [
    Contestant(
        "dict",
        "the built-in, private to its process",
        "nothing",
        lambda _: MappingStore("dict", {}),
    ),
    Contestant(
        "sorteddict",
        "SortedDict of sortedcontainers, private to its process",
        "nothing",
        lambda _: Sorted(),
        ordered=True,
        missing=needs("sortedcontainers"),
    ),
    Contestant(
        "ultradict",
        "UltraDict with shared_lock, a buffer of 4 MiB, dumps of 64 MiB; each process has a copy",
        "no death while its lock is held",
        lambda site: ultradict(site, create=True),
        lambda site: ultradict(site, create=False),
        records_max=20_000,
        missing=needs("UltraDict"),
    ),
]
