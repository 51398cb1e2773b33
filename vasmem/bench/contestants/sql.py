"""SQLite, by itself and under diskcache."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from vasmem.bench.contestants.base import Calls, Contestant, needs


class SqliteStore(Calls):
    """One table without row ids; each statement commits by itself."""

    def __init__(self, directory: Path, name: str = "sqlite3", synchronous: str = "OFF") -> None:
        self.name = name
        self.database = sqlite3.connect(
            directory / name, isolation_level=None, cached_statements=64, timeout=60
        )
        execute = self.database.execute
        execute("PRAGMA journal_mode = WAL").fetchall()
        execute(f"PRAGMA synchronous = {synchronous}")
        execute("PRAGMA cache_size = -65536")
        execute("PRAGMA mmap_size = 2147418112").fetchall()
        execute("CREATE TABLE IF NOT EXISTS t (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")
        self.get_one = self._get
        self.put_one = lambda key, value: execute(
            "INSERT INTO t VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v", (key, value)
        )
        self.delete_one = lambda key: execute("DELETE FROM t WHERE k = ?", (key,))
        self.scan_one = lambda key, length: execute(
            "SELECT k, v FROM t WHERE k >= ? ORDER BY k LIMIT ?", (key, length)
        ).fetchall()

    def _get(self, key: bytes) -> bytes | None:
        row = self.database.execute("SELECT v FROM t WHERE k = ?", (key,)).fetchone()
        return row[0] if row else None

    def get_batch(self, keys: Sequence[bytes]) -> list[bytes]:
        places = ",".join("?" * len(keys))
        rows = self.database.execute(f"SELECT k, v FROM t WHERE k IN ({places})", keys)
        found = dict(rows.fetchall())
        return [found[key] for key in keys]

    def put_batch(self, keys: list[bytes], values: list[bytes]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany(
            "INSERT INTO t VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            zip(keys, values, strict=True),
        )
        self.database.execute("COMMIT")

    commit_durably = put_batch

    def bulk_delete(self, keys: list[bytes]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("DELETE FROM t WHERE k = ?", ((key,) for key in keys))
        self.database.execute("COMMIT")

    def count(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM t").fetchone()[0])

    def close(self) -> None:
        self.database.close()


class DiskcacheStore(Calls):
    """diskcache's Cache, which never evicts."""

    name = "diskcache"

    def __init__(self, directory: Path) -> None:
        import diskcache

        self.cache = diskcache.Cache(
            str(directory / "diskcache"), eviction_policy="none", size_limit=1 << 40, timeout=60
        )
        self.get_one = self.cache.get
        self.put_one = self.cache.set
        self.delete_one = self.cache.delete

    def get_batch(self, keys: Sequence[bytes]) -> list[bytes]:
        with self.cache.transact():
            return [self.cache.get(key) for key in keys]

    def put_batch(self, keys: list[bytes], values: list[bytes]) -> None:
        with self.cache.transact():
            for key, value in zip(keys, values, strict=True):
                self.cache.set(key, value)

    def bulk_delete(self, keys: list[bytes]) -> None:
        with self.cache.transact():
            self.delete(keys)

    def count(self) -> int:
        return len(self.cache)

    def close(self) -> None:
        self.cache.close()


SQL = [
    Contestant(
        "sqlite3",
        "WAL, synchronous=OFF, 64 MiB of cache, mmap; WITHOUT ROWID; a statement an operation",
        "kill -9 of any process",
        lambda site: SqliteStore(site.directory),
        lambda site: SqliteStore(site.directory),
        ordered=True,
    ),
    Contestant(
        "diskcache",
        "Cache, no eviction, else its defaults; batches in transact()",
        "kill -9 of any process",
        lambda site: DiskcacheStore(site.directory),
        lambda site: DiskcacheStore(site.directory),
        records_max=50_000,
        missing=needs("diskcache"),
    ),
]
SQLITE_DURABLE = Contestant(
    "sqlite3-full",
    "WAL, synchronous=FULL, a transaction a commit",
    "power",
    lambda site: SqliteStore(site.directory, "sqlite3-full", "FULL"),
)
