"""What a durable commit costs at least: bytes of a file, and of a mapping of it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from vasmem.bench.contestants.base import Calls, Contestant

FILE_BYTES = 16 << 20


class RawFile(Calls):
    """Records appended to a file, or stored in its mapping; no keys can be looked up."""

    def __init__(self, directory: Path, name: str, *, mapped: bool) -> None:
        self.name = name
        self.file = os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self.file, 0, FILE_BYTES)
        self.mapping = mmap.mmap(self.file, FILE_BYTES) if mapped else None
        self.at = 0

    def commit_durably(self, keys: list[bytes], values: list[bytes]) -> None:
        record = b"".join([*keys, *values])
        if self.at + len(record) > FILE_BYTES:
            self.at = 0
        if self.mapping is None:
            os.pwrite(self.file, record, self.at)
            os.fdatasync(self.file)
        else:
            self.mapping[self.at : self.at + len(record)] = record
            page = self.at & -mmap.PAGESIZE
            self.mapping.flush(page, self.at + len(record) - page)
        self.at += len(record)

    def close(self) -> None:
        if self.mapping is not None:
            self.mapping.close()
        os.close(self.file)


RAW_DURABLE = [
    Contestant(
        "pwrite",
        "keys and values appended by pwrite, fdatasync",
        "power, for whole records",
        lambda site: RawFile(site.directory, "pwrite", mapped=False),
    ),
    Contestant(
        "map-shared",
        "keys and values stored in a MAP_SHARED mapping, msync of its pages",
        "power, for whole records",
        lambda site: RawFile(site.directory, "map-shared", mapped=True),
    ),
]
