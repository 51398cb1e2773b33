"""py-lmdb at its best for one transaction an operation."""

from __future__ import annotations

from collections import deque
from itertools import islice
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from vasmem.bench.contestants.base import Calls, Contestant, needs

MAX_BYTES = 8 << 30
UNSYNCED = {"writemap": True, "sync": False, "metasync": False, "map_async": True}


class LmdbStore(Calls):
    """One environment, with the transactions of each operation written out in the loops."""

    def __init__(self, directory: Path, name: str = "lmdb", **options: Any) -> None:
        import lmdb

        self.name = name
        self.env = lmdb.open(
            str(directory / name),
            subdir=False,
            map_size=MAX_BYTES,
            meminit=False,
            # The default of 1 never reuses a read transaction in these loops: 20 % slower.
            max_spare_txns=4,
            **(options or UNSYNCED),
        )
        begin = self.env.begin
        # Ended by its last reference: cheaper than `with` (20 %) and than abort() (5 %).
        self.get_one = lambda key: begin().get(key)
        self.get_batch = lambda keys: begin().cursor().getmulti(keys)
        self.scan_one = self._scan

    def put_one(self, key: bytes, value: bytes) -> None:
        transaction = self.env.begin(None, None, True)
        transaction.put(key, value)
        transaction.commit()

    def delete_one(self, key: bytes) -> None:
        transaction = self.env.begin(None, None, True)
        transaction.delete(key)
        transaction.commit()

    def put_batch(self, keys: list[bytes], values: list[bytes]) -> None:
        with self.env.begin(write=True) as transaction:
            transaction.cursor().putmulti(list(zip(keys, values, strict=True)))

    def _scan(self, key: bytes, length: int) -> None:
        cursor = self.env.begin().cursor()
        cursor.set_range(key)
        deque(islice(cursor, length), maxlen=0)

    def get(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            begin().get(key)
        return perf_counter_ns() - start

    get_item = get

    def put(self, keys: list[bytes], values: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            transaction = begin(None, None, True)
            transaction.put(key, value)
            transaction.commit()
        return perf_counter_ns() - start

    def put_many(self, keys: list[bytes], values: list[bytes]) -> int:
        begin = self.env.begin
        pairs = list(zip(keys, values, strict=True))
        start = perf_counter_ns()
        with begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs)
        return perf_counter_ns() - start

    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                begin().get(key)
            else:
                transaction = begin(None, None, True)
                transaction.put(key, value)
                transaction.commit()
        return perf_counter_ns() - start

    def delete(self, keys: list[bytes]) -> int:
        begin = self.env.begin
        start = perf_counter_ns()
        for key in keys:
            transaction = begin(None, None, True)
            transaction.delete(key)
            transaction.commit()
        return perf_counter_ns() - start

    def bulk_delete(self, keys: list[bytes]) -> None:
        with self.env.begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key)

    def count(self) -> int:
        return int(self.env.stat()["entries"])

    commit_durably = put_batch

    def close(self) -> None:
        self.env.close()


LMDB = Contestant(
    "lmdb",
    "writemap, map_async, no sync, no metasync, meminit=False, max_spare_txns=4; a transaction an"
    " operation, reads end with their last reference",
    "kill -9 of any process",
    lambda site: LmdbStore(site.directory),
    lambda site: LmdbStore(site.directory),
    ordered=True,
    missing=needs("lmdb"),
)
LMDB_DURABLE = Contestant(
    "lmdb-sync",
    "defaults (sync), a transaction a commit",
    "power",
    lambda site: LmdbStore(site.directory, "lmdb-sync", sync=True),
    missing=needs("lmdb"),
)
