"""Log-structured stores, each of one process at a time: LevelDB by plyvel, RocksDB by rocksdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vasmem.bench.contestants.base import Calls, Contestant, needs


class PlyvelStore(Calls):
    """LevelDB with room in memory for its writes."""

    def __init__(self, directory: Path, name: str = "plyvel") -> None:
        import plyvel

        self.name = name
        self.database = plyvel.DB(
            str(directory / name),
            create_if_missing=True,
            write_buffer_size=64 << 20,
            lru_cache_size=256 << 20,
            bloom_filter_bits=10,
        )
        self.get_one = self.database.get
        self.put_one = self.database.put
        self.delete_one = self.database.delete
        self.scan_one = self._scan

    def put_batch(self, keys: list[bytes], values: list[bytes], sync: bool = False) -> None:
        with self.database.write_batch(sync=sync) as batch:
            for key, value in zip(keys, values, strict=True):
                batch.put(key, value)

    def _scan(self, key: bytes, length: int) -> None:
        deque(islice(self.database.iterator(start=key), length), maxlen=0)

    def commit_durably(self, keys: list[bytes], values: list[bytes]) -> None:
        self.put_batch(keys, values, True)

    def count(self) -> int:
        return sum(1 for _ in self.database.iterator(include_value=False))

    def close(self) -> None:
        self.database.close()


class RocksdictStore(Calls):
    """RocksDB, raw bytes."""

    def __init__(self, directory: Path, name: str = "rocksdict") -> None:
        import rocksdict

        options = rocksdict.Options(raw_mode=True)
        options.set_write_buffer_size(64 << 20)
        self.name = name
        self.database: Any = rocksdict.Rdict(str(directory / name), options=options)
        self.batch = rocksdict.WriteBatch
        self.synced = rocksdict.WriteOptions()
        self.synced.sync = True
        self.get_one = self.database.get
        self.put_one = self.database.__setitem__
        self.delete_one = self.database.__delitem__
        self.scan_one = self._scan

    def get_batch(self, keys: Sequence[bytes]) -> Any:
        return self.database.get(list(keys))

    def put_batch(self, keys: list[bytes], values: list[bytes], options: Any = None) -> None:
        batch = self.batch(raw_mode=True)
        for key, value in zip(keys, values, strict=True):
            batch.put(key, value)
        self.database.write(batch, options)

    def _scan(self, key: bytes, length: int) -> None:
        deque(islice(self.database.items(from_key=key), length), maxlen=0)

    def commit_durably(self, keys: list[bytes], values: list[bytes]) -> None:
        self.put_batch(keys, values, self.synced)

    def count(self) -> int:
        return sum(1 for _ in self.database.items())

    def close(self) -> None:
        self.database.close()


LSM = [
    Contestant(
        "plyvel",
        "LevelDB: write buffer 64 MiB, cache 256 MiB, Bloom filters of 10 bits, no sync",
        "its own death, which another process must wait for",
        lambda site: PlyvelStore(site.directory),
        ordered=True,
        missing=needs("plyvel"),
    ),
    Contestant(
        "rocksdict",
        "RocksDB: raw mode, write buffer 64 MiB, no sync",
        "its own death, which another process must wait for",
        lambda site: RocksdictStore(site.directory),
        ordered=True,
        missing=needs("rocksdict"),
    ),
]
LSM_DURABLE = [
    Contestant(
        "plyvel-sync",
        "LevelDB, sync=True, a batch a commit",
        "power",
        lambda site: PlyvelStore(site.directory, "plyvel-sync"),
        missing=needs("plyvel"),
    ),
    Contestant(
        "rocksdict-sync",
        "RocksDB, sync=True, a batch a commit",
        "power",
        lambda site: RocksdictStore(site.directory, "rocksdict-sync"),
        missing=needs("rocksdict"),
    ),
]
