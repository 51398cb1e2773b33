"""A log of records in lines of their own, published by a count."""

from __future__ import annotations

from typing import Any, ClassVar

from vasmem.lab.zoo.structure import Structure, checksum, line
from vasmem.memory import LINE_BYTES, Area

COUNT = 0


class Log(Structure):
    """Records of two lines; a count in a line before them says how many there are."""

    fields: ClassVar = {"count": 0, "record": (64, 20 * 64)}
    ops: ClassVar = (("append", 11), ("append", 12), ("append", 13))

    def append(self, log: Area, value: int) -> None:
        """Write the record, make it durable, publish it."""
        count = log.load(COUNT)
        at = line(1 + 2 * count)
        log.store(at, value)
        log.store(at + LINE_BYTES, value + 1000)
        if not self.has("no-flush"):
            wrong = self.has("wrong-line")
            size = LINE_BYTES if self.has("first-line-only") else 2 * LINE_BYTES
            log.flush(COUNT if wrong else at, size)
        if not self.has("no-fence"):
            log.fence()
        log.store(COUNT, count + 1)
        if not self.has("unflushed-count"):
            log.flush(COUNT)
        if not self.has("late-fence"):
            log.fence()

    def read(self, log: Area) -> Any:
        """Both halves of every record."""
        starts = [line(1 + 2 * number) for number in range(min(log.load(COUNT), 10))]
        return [(log.load(at), log.load(at + LINE_BYTES)) for at in starts]


class Slot(Structure):
    """One value of two words beside the word that says it is there, all in a line."""

    fields: ClassVar = {"valid": 0, "low": 8, "high": 16}
    ops: ClassVar = (("put", 5), ("remove",), ("put", 6))

    def put(self, slot: Area, value: int) -> None:
        """In one line stores persist in order: the word that publishes comes last."""
        if slot.load(0):
            return
        if self.has("valid-first"):
            slot.store(0, 1)
        slot.store(8, value)
        slot.store(16, value + 1000)
        slot.store(0, 1)
        slot.persist(0, 24)

    def remove(self, slot: Area) -> None:
        """Says that nothing is there."""
        slot.store(0, 0)
        slot.persist(0)

    def read(self, slot: Area) -> Any:
        """The two words, if they are there."""
        return (slot.load(8), slot.load(16)) if slot.load(0) else None


class Text(Structure):
    """Text of any length in one of two places; one word has the place and the length."""

    fields: ClassVar = {"head": 0, "length": 64, "places": (128, 512)}
    ops: ClassVar = (("write", "abc"), ("write", "defghijk"), ("write", "xy"))

    def write(self, text: Area, value: str) -> None:
        """Write to the place that is not in use, and turn to it."""
        place = 1 - (text.load(0) & 1)
        at = line(2 + 2 * place)
        text.store(at, value.encode().ljust(16, b"\0"))
        text.persist(at, 16)
        if self.has("two-words"):
            text.store(64, len(value))
            text.store(0, place)
            text.flush(64)
        elif self.has("tearable"):
            # What a compiler may make of one assignment: two stores of 4 bytes, in other lines'
            # worth of time; here the halves are words of their own.
            text.store(64, len(value))
            text.persist(64)
            text.store(0, place)
        else:
            text.store(0, place | len(value) << 8)
        text.persist(0)

    def read(self, text: Area) -> Any:
        """The text."""
        head = text.load(0)
        apart = self.defect in ("two-words", "tearable")
        length = text.load(64) if apart else head >> 8
        return text.read(line(2 + 2 * (head & 1)), 16)[: min(length, 16)]


class Ring(Structure):
    """Records that tell by a checksum whether they are there; clearing starts over."""

    fields: ClassVar = {"head": 0, "record": (64, 8 * 64)}
    ops: ClassVar = (("append", 3, 7), ("append", 2, 8), ("clear",), ("append", 1, 9))

    def _sum(self, generation: int, size: int, value: int) -> int:
        if self.has("checksum-skips-length"):
            return checksum(generation, value)
        return checksum(generation, size, value)

    def append(self, ring: Area, size: int, value: int) -> None:
        """One record in a line: generation, checksum, value, size, in the order they persist."""
        generation = ring.load(0)
        number = len(self.read(ring))
        at = line(1 + number)
        total = self._sum(generation, size, value)
        words = [generation, total, value, size]
        ring.store(at, b"".join(word.to_bytes(8, "little") for word in words))
        ring.persist(at, 32)

    def clear(self, ring: Area) -> None:
        """Records of another generation are not there."""
        if self.has("reused-log"):
            for number in range(len(self.read(ring))):
                ring.store(line(1 + number), bytes(32))
            ring.flush(line(1), 32)
            ring.fence()
        else:
            ring.store(0, ring.load(0) + 1)
            ring.persist(0)

    def read(self, ring: Area) -> Any:
        """Size and value of each."""
        found = []
        for number in range(8):
            at = line(1 + number)
            generation, total, value, size = (ring.load(at + 8 * word) for word in range(4))
            right = total == self._sum(generation, size, value)
            if generation != ring.load(0) or not right:
                break
            found.append((size, value))
        return found
