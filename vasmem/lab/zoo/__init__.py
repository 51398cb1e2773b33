"""Small structures with seeded defects, which the lab must find, and their sound twins."""

from __future__ import annotations

from dataclasses import dataclass

from vasmem.lab.workloads import Workload
from vasmem.lab.zoo.blocks import Queue, Stack, Vector, Versions
from vasmem.lab.zoo.log import Log, Ring, Slot, Text
from vasmem.lab.zoo.structure import Structure
from vasmem.lab.zoo.undo import Bank, Batch


@dataclass(frozen=True)
class Exhibit:
    """A defect of a structure."""

    structure: type[Structure]
    defect: str
    text: str

    def workload(self, *, right: bool = False) -> Workload:
        """It, or the same structure without it."""
        return self.structure("" if right else self.defect).workload()


EXHIBITS = (
    Exhibit(Log, "no-flush", "a record is published and never flushed"),
    Exhibit(Log, "no-fence", "a record is flushed, but no fence is before its publication"),
    Exhibit(Log, "wrong-line", "the flush is of another line than the record's"),
    Exhibit(Log, "first-line-only", "of a record of two lines only the first is flushed"),
    Exhibit(Log, "unflushed-count", "what publishes a record is never flushed"),
    Exhibit(Log, "late-fence", "the operation returns before a fence"),
    Exhibit(Slot, "valid-first", "in one line the word that publishes is stored first"),
    Exhibit(Text, "two-words", "place and length are two words in two lines"),
    Exhibit(Text, "tearable", "one value is stored as two, each durable by itself"),
    Exhibit(Ring, "checksum-skips-length", "the checksum does not cover the length"),
    Exhibit(Ring, "reused-log", "old records are overwritten, but only one of them is flushed"),
    Exhibit(Bank, "in-place-first", "data change before the undo record is durable"),
    Exhibit(Bank, "half-flushed", "one of two changed lines is not flushed before the commit"),
    Exhibit(Bank, "truncated-early", "the undo record is dropped before the data are durable"),
    Exhibit(Bank, "cleared-before-repair", "recovery drops its record before the repair"),
    Exhibit(Bank, "relative-undo", "the undo record says how much, not what was"),
    Exhibit(Batch, "generation-kept", "recovery does not end the generation of what it drops"),
    Exhibit(Stack, "linked-before-bitmap", "a block is linked before it is taken"),
    Exhibit(Stack, "freed-before-unlink", "a block is used again before it is unlinked"),
    Exhibit(Stack, "leaked-block", "recovery does not look for blocks that nobody has"),
    Exhibit(Queue, "endless-recovery", "recovery follows links that may lead back"),
    Exhibit(Versions, "torn-pair", "a pair is overwritten in place"),
    Exhibit(Versions, "version-with-data", "a version is stored with the data, not behind them"),
    Exhibit(Vector, "size-first", "the length is durable before what it covers"),
)
