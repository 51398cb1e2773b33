"""Stores that are mappings: those of vasmem, the floor, and dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from vasmem.bench.contestants.base import Calls


class MappingStore(Calls):
    """A mapping of bytes to bytes, used by its operators."""

    def __init__(self, name: str, mapping: Any, close: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.map = mapping
        self._close = close
        self.get_one = mapping.get
        self.put_one = mapping.__setitem__
        self.delete_one = mapping.__delitem__
        self.get_batch = getattr(mapping, "get_many", None)
        self.put_batch = getattr(mapping, "put_many", None)

    def get_item(self, keys: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key in keys:
            mapping[key]
        return perf_counter_ns() - start

    def put(self, keys: list[bytes], values: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            mapping[key] = value
        return perf_counter_ns() - start

    def mixed(self, keys: list[bytes], values: list[bytes | None]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                mapping[key]
            else:
                mapping[key] = value
        return perf_counter_ns() - start

    def modify(self, keys: list[bytes], values: list[bytes | None]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key, value in zip(keys, values, strict=True):
            mapping[key]
            if value is not None:
                mapping[key] = value
        return perf_counter_ns() - start

    def delete(self, keys: list[bytes]) -> int:
        mapping = self.map
        start = perf_counter_ns()
        for key in keys:
            del mapping[key]
        return perf_counter_ns() - start

    def count(self) -> int:
        return len(self.map)

    def close(self) -> None:
        del self.map, self.get_one, self.put_one, self.delete_one, self.get_batch, self.put_batch
        self._close()
