"""The contestants, by name."""

from __future__ import annotations

from vasmem.bench.contestants.base import Contestant, Site
from vasmem.bench.contestants.floor import FLOORS
from vasmem.bench.contestants.lmdb_store import LMDB, LMDB_DURABLE
from vasmem.bench.contestants.lsm import LSM, LSM_DURABLE
from vasmem.bench.contestants.ours import OURS
from vasmem.bench.contestants.private import PRIVATE
from vasmem.bench.contestants.raw import RAW_DURABLE
from vasmem.bench.contestants.servers import SERVERS, SERVERS_DURABLE
from vasmem.bench.contestants.sql import SQL, SQLITE_DURABLE

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (*OURS, *FLOORS, LMDB, *SQL, *LSM, *SERVERS, *PRIVATE)
}
# Whose commits survive power failures, on a disk.
DURABLE = {
    contestant.name: contestant
    for contestant in (*RAW_DURABLE, LMDB_DURABLE, SQLITE_DURABLE, *LSM_DURABLE, *SERVERS_DURABLE)
}

__all__ = ["CONTESTANTS", "DURABLE", "Contestant", "Site"]
