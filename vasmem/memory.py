"""Memory operations for building a structure of one's own inside a segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from vasmem import _core
from vasmem.errors import VasmemError, WrongType

if TYPE_CHECKING:
    from vasmem.segment import Segment

LINE_BYTES: Final = 64
# Whole pages: blocks of these sizes begin at a line, which only a block of such a size surely does.
AREA_STEP_BYTES = 4096
WORD_MAX = (1 << 64) - 1
# What the rows of an area are, so that it is told from an array.
AREA_FIELD = "vasmem.area.line"

# Offset of a field, or offset and bytes.
Fields: TypeAlias = "Mapping[str, int | tuple[int, int]]"
# Is told of each operation and its place; whether a flush or fence is to happen.
Watcher: TypeAlias = Callable[[str, int, int], bool]


class Memory:
    """`segment.memory`: areas for a structure of one's own, and loads, stores, flushes, fences.

    Offsets are those of the segment, and must be inside of an area that was opened through it.
    Nothing here is a transaction: what a crash leaves of it is what this teaches, and what
    `vasmem.lab` tries. On a medium that asks for none, flush and fence do nothing.
    """

    def __init__(self, segment: Segment) -> None:
        self._core = segment._core
        self._segment = segment
        self._areas: dict[str, Area] = {}
        self._watch: Watcher | None = None

    def area(
        self,
        name: str,
        size: int | None = None,
        *,
        fields: Fields | Any = None,
        create: bool = True,
    ) -> Area:
        """Open the area of that name; make it, of zeros, if there is none and `create` is true.

        `size` in bytes is rounded up to whole pages of 4096. `fields` name places in it for
        reports: offsets, pairs of offset and bytes, or a numpy dtype of records. Raises KeyError if
        there is none and `size` is missing or `create` false, WrongType if the name is that of
        something else, ValueError if it is there and smaller than `size`.
        """
        rows = self._rows(name, size, create)
        at, lines = rows.place()
        area = Area(self, name, at, lines * LINE_BYTES, _places(fields))
        if size is not None and size > area.size:
            raise ValueError(f"area {name!r} has {area.size} bytes, not {size}")
        self._areas[name] = area
        return area

    def _rows(self, name: str, size: int | None, create: bool) -> _core.Array:
        from vasmem.array import open_array  # with numpy, which takes longer than all of vasmem

        dtype: Any = {"names": [AREA_FIELD], "formats": ["V64"]}
        if name not in self._segment and (size is None or not create):
            raise KeyError(name)
        if size is not None and size <= 0:
            raise ValueError(f"area {name!r} of {size} bytes: give 1 or more")
        steps = -(-(size or 1) // AREA_STEP_BYTES)
        lines = steps * AREA_STEP_BYTES // LINE_BYTES
        try:
            return open_array(self._segment, self._core, name, (lines,), dtype, create)
        except WrongType:
            found = type(self._segment[name]).__name__
            text = f"{name!r} is no area but of type {found}: choose another name"
            raise WrongType(text) from None

    @property
    def areas(self) -> tuple[Area, ...]:
        """Those that were opened here."""
        return tuple(self._areas.values())

    def load(self, offset: int, size: int = 8) -> int:
        """The number in `size` bytes, little-endian; 8 at a multiple of 8 are one atomic load."""
        self._inside(offset, size)
        if size == 8 and offset % 8 == 0:
            return self._core.load_word(offset)
        return int.from_bytes(self._core.load_bytes(offset, size), "little")

    def read(self, offset: int, size: int) -> bytes:
        """A copy of `size` bytes."""
        self._inside(offset, size)
        return self._core.load_bytes(offset, size)

    def store(self, offset: int, value: int | bytes | bytearray | memoryview) -> None:
        """Store a word, at a multiple of 8 and as a whole, or bytes, word after word."""
        if isinstance(value, int):
            if not 0 <= value <= WORD_MAX:
                raise ValueError(f"{value} does not fit a word of 64 bits: store bytes")
            self._inside(offset, 8)
            self._tell("store", offset, 8)
            self._core.store_word(offset, value)
        else:
            size = memoryview(value).nbytes
            self._inside(offset, size)
            self._tell("store", offset, size)
            self._core.store_bytes(offset, value, False)

    def stream(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes past the caches: durable after the next fence, their words in any order.

        What is shorter than 2 KiB is stored and flushed instead.
        """
        size = memoryview(data).nbytes
        self._inside(offset, size)
        self._tell("store", offset, size)
        self._core.store_bytes(offset, data, True)

    def compare_and_swap(self, offset: int, old: int, new: int) -> bool:
        """Store the word `new` if the word there is `old`, at once; whether it was."""
        self._inside(offset, 8)
        self._tell("store", offset, 8)
        return self._core.cas_word(offset, old, new) == old

    def flush(self, offset: int, size: int = 8) -> None:
        """Start to write back the lines of `size` bytes; durable after the next fence."""
        self._inside(offset, size)
        if self._tell("flush", offset, size):
            self._core.flush_lines(offset, size)

    def fence(self) -> None:
        """Wait until all that this thread flushed is durable."""
        if self._tell("fence", 0, 0):
            self._core.drain()

    def persist(self, offset: int, size: int = 8) -> None:
        """Flush, and fence."""
        self.flush(offset, size)
        self.fence()

    def _inside(self, offset: int, size: int) -> None:
        for area in self._areas.values():
            if area.at <= offset and size >= 0 and offset + size <= area.at + area.size:
                return
        known = ", ".join(
            f"{area.name!r} {area.at} to {area.at + area.size}" for area in self.areas
        )
        raise IndexError(
            f"{size} bytes at {offset} are in no area that was opened here ({known or 'none was'}):"
            " open one with segment.memory.area(name, size)"
        )

    def _tell(self, what: str, offset: int, size: int) -> bool:
        return self._watch is None or self._watch(what, offset, size)


class Area:
    """Bytes in a segment for a structure of one's own; offsets count from its start.

    The methods are those of Memory. It never moves, and `del segment[name]` removes it.
    """

    def __init__(
        self, memory: Memory, name: str, at: int, size: int, fields: dict[str, tuple[int, int]]
    ) -> None:
        self._memory = memory
        self.name = name
        self.at = at
        self.size = size
        self.fields = fields

    def _place(self, offset: int, size: int) -> int:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise IndexError(f"{size} bytes at {offset} of area {self.name!r}: it has {self.size}")
        return self.at + offset

    def load(self, offset: int, size: int = 8) -> int:
        """The number in `size` bytes; see Memory.load."""
        return self._memory.load(self._place(offset, size), size)

    def read(self, offset: int, size: int) -> bytes:
        """A copy of `size` bytes."""
        return self._memory.read(self._place(offset, size), size)

    def store(self, offset: int, value: int | bytes | bytearray | memoryview) -> None:
        """Store a word or bytes; see Memory.store."""
        size = 8 if isinstance(value, int) else memoryview(value).nbytes
        self._memory.store(self._place(offset, size), value)

    def stream(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes past the caches; see Memory.stream."""
        self._memory.stream(self._place(offset, memoryview(data).nbytes), data)

    def compare_and_swap(self, offset: int, old: int, new: int) -> bool:
        """Store `new` if the word is `old`; whether it was."""
        return self._memory.compare_and_swap(self._place(offset, 8), old, new)

    def flush(self, offset: int, size: int = 8) -> None:
        """Start to write back the lines of `size` bytes."""
        self._memory.flush(self._place(offset, size), size)

    def fence(self) -> None:
        """Wait until all that this thread flushed is durable, of whatever area."""
        self._memory.fence()

    def persist(self, offset: int, size: int = 8) -> None:
        """Flush, and fence."""
        self._memory.persist(self._place(offset, size), size)

    def __repr__(self) -> str:
        return f"<Area {self.name!r}, {self.size} bytes at {self.at}>"


def _places(fields: Fields | Any) -> dict[str, tuple[int, int]]:
    """Offset and bytes of every field."""
    if fields is None:
        return {}
    if isinstance(fields, Mapping):
        pairs = {
            name: place if isinstance(place, tuple) else (place, 8)
            for name, place in fields.items()
        }
    else:
        import numpy

        found = numpy.dtype(fields).fields
        if found is None:
            raise VasmemError(f"fields of an area: a dtype of records, not {fields!r}")
        pairs = {name: (int(entry[1]), entry[0].itemsize) for name, entry in found.items()}
    return pairs


class HasMemory:
    """A part of Segment."""

    _core: _core.Segment

    @cached_property
    def memory(self) -> Memory:
        """Areas, loads, stores, flushes and fences for a structure of one's own."""
        return Memory(cast("Segment", self))
