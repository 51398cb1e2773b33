"""The unsynchronised table over a MAP_SHARED file: a bound; and the same under one lock."""

from __future__ import annotations

from vasmem.bench import _floor
from vasmem.bench.contestants.base import Contestant, Site
from vasmem.bench.contestants.mapping import MappingStore
from vasmem.bench.workload import KEY_BYTES, VALUE_BYTES, Store


def make(site: Site, name: str = "floor", locked: bool = False) -> Store:
    table = _floor.Table(
        site.directory / name,
        records=site.records,
        key_max=KEY_BYTES,
        value_max=VALUE_BYTES + 4,
        locked=locked,
    )
    return MappingStore(name, table)


def attach(site: Site, name: str = "floor", locked: bool = False) -> Store:
    return MappingStore(name, _floor.Table.attach(site.directory / name, locked=locked))


FLOORS = [
    Contestant(
        "floor",
        "a native hash table over a MAP_SHARED file: no locks, no growth; space for all beforehand",
        "nothing: two processes that write tear it",
        make,
        attach,
    ),
    Contestant(
        "floor-locked",
        "the same under one mutex of the C library, held in each call",
        "no death while the mutex is held: all others wait for ever",
        lambda site: make(site, "floor-locked", True),
        lambda site: attach(site, "floor-locked", True),
    ),
]
