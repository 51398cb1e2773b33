"""A stack of blocks with an allocation bitmap, a versioned pair, and an array that grows."""

from __future__ import annotations

from typing import Any, ClassVar

from vasmem.lab.zoo.structure import Structure, line
from vasmem.memory import Area

HEAD, BITMAP = 0, line(1)
FIRST, BLOCKS = 2, 6


class Stack(Structure):
    """Blocks of a line: value, next. The head leads to the top, the bitmap says which are used."""

    fields: ClassVar = {"head": HEAD, "bitmap": BITMAP, "block": (line(FIRST), BLOCKS * 64)}
    ops: ClassVar = (("push", 1), ("push", 2), ("pop",), ("push", 3))

    def _free(self, stack: Area) -> int:
        used = stack.load(BITMAP)
        return next(number for number in range(BLOCKS) if not used >> number & 1)

    def push(self, stack: Area, value: int) -> None:
        """Take a block, fill it, link it; each durable before the next."""
        number = self._free(stack)
        at = line(FIRST + number)
        if not self.has("linked-before-bitmap"):
            stack.store(BITMAP, stack.load(BITMAP) | 1 << number)
            stack.persist(BITMAP)
        stack.store(at, value)
        stack.store(at + 8, stack.load(HEAD))
        stack.persist(at, 16)
        stack.store(HEAD, number + 1)
        stack.persist(HEAD)
        if self.has("linked-before-bitmap"):
            stack.store(BITMAP, stack.load(BITMAP) | 1 << number)
            stack.persist(BITMAP)

    def pop(self, stack: Area) -> None:
        """Unlink the top, durably, and free it."""
        number = stack.load(HEAD) - 1
        if number < 0:
            return
        after = stack.load(line(FIRST + number) + 8)
        if self.has("freed-before-unlink"):
            stack.store(BITMAP, stack.load(BITMAP) & ~(1 << number))
            stack.persist(BITMAP)
            # Free blocks are filled, so that nobody rests on them.
            stack.store(line(FIRST + number), 0xDEAD)
            stack.persist(line(FIRST + number))
        stack.store(HEAD, after)
        stack.persist(HEAD)
        stack.store(BITMAP, stack.load(BITMAP) & ~(1 << number))
        stack.persist(BITMAP)

    def _linked(self, stack: Area) -> list[int]:
        found: list[int] = []
        number = stack.load(HEAD)
        while number and number - 1 < BLOCKS and len(found) <= BLOCKS:
            found.append(number - 1)
            number = stack.load(line(FIRST + number - 1) + 8)
        return found

    def recover(self, stack: Area) -> None:
        """What is linked is used, and nothing else."""
        if self.has("leaked-block"):
            return
        used = sum(1 << number for number in set(self._linked(stack)))
        if self.has("linked-before-bitmap") or self.has("freed-before-unlink"):
            used &= stack.load(BITMAP)
        if used != stack.load(BITMAP):
            stack.store(BITMAP, used)
            stack.persist(BITMAP)

    def read(self, stack: Area) -> Any:
        """The values from the top."""
        return [stack.load(line(FIRST + number)) for number in self._linked(stack)]

    def verify(self, stack: Area) -> None:
        """Used blocks are those that are linked."""
        linked, used = set(self._linked(stack)), stack.load(BITMAP)
        assert used == sum(1 << number for number in linked), "blocks leaked, or in use twice"


class Queue(Structure):
    """Links between two lines that recovery follows until it meets the end."""

    fields: ClassVar = {"first": 0, "link": (64, 4 * 64)}
    ops: ClassVar = (("turn",), ("turn",))

    def prepare(self, queue: Area) -> None:
        """Line 1 leads to line 2, which is the end."""
        queue.store(0, 1)
        queue.store(line(1), 2)
        queue.persist(0)
        queue.persist(line(1))

    def turn(self, queue: Area) -> None:
        """The last becomes the first: cut the links durably before they lead back."""
        first = queue.load(0)
        if self.has("endless-recovery"):
            other = 3 - first
            queue.store(line(other), first)
            queue.store(line(first), 0)
            queue.store(0, other)
            queue.flush(line(other))
            queue.flush(line(first))
            queue.persist(0)
        else:
            queue.store(line(3), first)  # a note of who was first
            queue.persist(line(3))
            self._put_behind(queue, first)

    def _put_behind(self, queue: Area, first: int) -> None:
        """Put the one that was first behind the other, each step durable before the next."""
        other = 3 - first
        queue.store(line(first), 0)
        queue.persist(line(first))
        queue.store(line(other), first)
        queue.persist(line(other))
        queue.store(0, other)
        queue.persist(0)
        queue.store(line(3), 0)
        queue.persist(line(3))

    def recover(self, queue: Area) -> None:
        """Walk to the end, and put the links right if there is a note."""
        note = queue.load(line(3))
        if note:
            self._put_behind(queue, note)
        number = queue.load(0)
        while number:
            number = queue.load(line(number))

    def read(self, queue: Area) -> Any:
        """Who comes first, and who behind it."""
        first = queue.load(0)
        return first, queue.load(line(first)) if 0 < first < 3 else None


class Versions(Structure):
    """Two copies of a pair with versions; the newer one counts."""

    fields: ClassVar = {"version0": 0, "x0": 8, "y0": 64, "version1": 128, "x1": 136, "y1": 192}
    ops: ClassVar = (("write", 1), ("write", 2), ("write", 3))

    def _current(self, pair: Area) -> int:
        return 128 if pair.load(128) > pair.load(0) else 0

    def write(self, pair: Area, value: int) -> None:
        """Fill the older copy, durably, and give it the next version."""
        now = self._current(pair)
        other = 128 - now
        if self.has("torn-pair"):
            pair.store(now + 8, value)
            pair.store(now + 64, value + 1000)
            pair.persist(now, 72)
            return
        pair.store(other + 8, value)
        pair.store(other + 64, value + 1000)
        if self.has("version-with-data"):
            pair.store(other, pair.load(now) + 1)
            pair.persist(other, 72)
            return
        pair.persist(other + 8, 64)
        pair.store(other, pair.load(now) + 1)
        pair.persist(other)

    def recover(self, pair: Area) -> None:
        """Of a copy that was being filled, nothing counts."""

    def read(self, pair: Area) -> Any:
        """The current pair."""
        now = self._current(pair)
        return pair.load(now + 8), pair.load(now + 64)


class Vector(Structure):
    """Numbers with a length in front of them; what is behind the end is not zeros."""

    fields: ClassVar = {"length": 0, "items": (64, 8 * 64)}
    ops: ClassVar = (("grow", 2), ("grow", 3))

    def prepare(self, vector: Area) -> None:
        """Space that others used before."""
        for number in range(8):
            vector.store(line(1 + number), 0xDEAD)
            vector.persist(line(1 + number))

    def grow(self, vector: Area, length: int) -> None:
        """Zeros for what is new, durably, before the length says so."""
        begin = vector.load(0)
        if self.has("size-first"):
            vector.store(0, length)
            vector.persist(0)
        for number in range(begin, length):
            vector.store(line(1 + number), 0)
            vector.flush(line(1 + number))
        vector.fence()
        vector.store(0, length)
        vector.persist(0)

    def read(self, vector: Area) -> Any:
        """All of it."""
        return [vector.load(line(1 + number)) for number in range(min(vector.load(0), 8))]
