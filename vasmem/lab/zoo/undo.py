"""Accounts in place with a log of what they were; pairs that are written again after crashes."""

from __future__ import annotations

from typing import Any, ClassVar

from vasmem.lab.zoo.structure import Structure, checksum, line
from vasmem.memory import Area

ACTIVE, OLD_A, OLD_B = 0, 8, 16
A, B = line(1), line(2)


class Bank(Structure):
    """Two accounts in lines of their own; money goes from one to the other or does not."""

    fields: ClassVar = {"active": ACTIVE, "old_a": OLD_A, "old_b": OLD_B, "a": A, "b": B}
    ops: ClassVar = (("transfer", 10), ("transfer", 20))

    def prepare(self, bank: Area) -> None:
        """Both have something."""
        bank.store(A, 100)
        bank.store(B, 200)
        bank.persist(A)
        bank.persist(B)

    def transfer(self, bank: Area, amount: int) -> None:
        """Note what was, make the note durable, change, make the change durable, drop the note."""
        a, b = bank.load(A), bank.load(B)
        if self.has("relative-undo"):
            bank.store(OLD_A, amount)
        else:
            bank.store(OLD_A, a)
            bank.store(OLD_B, b)
        bank.store(ACTIVE, 1)
        if not self.has("in-place-first"):
            bank.persist(ACTIVE, 24)
        bank.store(A, a - amount)
        bank.store(B, b + amount)
        if self.has("in-place-first"):
            bank.flush(ACTIVE, 24)
        bank.flush(A)
        if not self.has("half-flushed"):
            bank.flush(B)
        if not self.has("truncated-early"):
            bank.fence()
        bank.store(ACTIVE, 0)
        bank.persist(ACTIVE)

    def recover(self, bank: Area) -> None:
        """Put back what was noted, durably, and then drop the note."""
        if not bank.load(ACTIVE):
            return
        if self.has("cleared-before-repair"):
            bank.store(ACTIVE, 0)
            bank.persist(ACTIVE)
        if self.has("relative-undo"):
            # Whether the transfer was begun is told by the sum of both alone.
            amount, total = bank.load(OLD_A), bank.load(A) + bank.load(B)
            if total != 300:
                bank.store(A, bank.load(A) + amount)
                bank.persist(A)
        else:
            bank.store(A, bank.load(OLD_A))
            bank.store(B, bank.load(OLD_B))
            bank.flush(A)
            bank.flush(B)
            bank.fence()
        bank.store(ACTIVE, 0)
        bank.persist(ACTIVE)

    def read(self, bank: Area) -> Any:
        """What the accounts have."""
        return bank.load(A), bank.load(B)

    def verify(self, bank: Area) -> None:
        """No money is made or lost."""
        assert bank.load(A) + bank.load(B) == 300, "money was made or lost"


class Batch(Structure):
    """A pair whose new values are noted in two records, valid if all of one generation are."""

    fields: ClassVar = {"generation": 0, "x": 8, "y": 16, "record": (64, 128)}
    ops: ClassVar = (("write", 1, 2), ("write", 3, 4))

    def write(self, batch: Area, x: int, y: int) -> None:
        """Note both as of the next generation, and apply them."""
        generation = batch.load(0) + 1
        for number, value in enumerate((x, y)):
            at = line(1 + number)
            batch.store(at + 8, value)
            batch.store(at + 16, checksum(generation, number, value))
            batch.store(at, generation)
            batch.flush(at, 24)
        batch.fence()
        self._apply(batch, generation, (x, y))

    def _apply(self, batch: Area, generation: int, values: tuple[int, int]) -> None:
        batch.store(8, values[0])
        batch.store(16, values[1])
        batch.store(0, generation)
        batch.persist(0, 24)

    def recover(self, batch: Area) -> None:
        """Apply what is complete; what is not must not be completed by the next batch."""
        generation = batch.load(0) + 1
        values = []
        for number in range(2):
            at = line(1 + number)
            value, total = batch.load(at + 8), batch.load(at + 16)
            if batch.load(at) == generation and total == checksum(generation, number, value):
                values.append(value)
        if len(values) == 2:
            self._apply(batch, generation, (values[0], values[1]))
        elif not self.has("generation-kept"):
            batch.store(0, generation)
            batch.persist(0)

    def read(self, batch: Area) -> Any:
        """The pair."""
        return batch.load(8), batch.load(16)
