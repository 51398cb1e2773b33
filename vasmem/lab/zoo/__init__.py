"""Small structures with seeded defects, which the lab must find, and their sound twins."""

from __future__ import annotations

from dataclasses import dataclass

from vasmem.lab.workloads import Workload
from vasmem.lab.zoo.blocks import Queue, Stack, Vector, Versions
from vasmem.lab.zoo.log import Log, Ring, Slot, Text
from vasmem.lab.zoo.shared import Index, Locked, Slots
from vasmem.lab.zoo.structure import Structure
from vasmem.lab.zoo.undo import Bank, Batch


@dataclass(frozen=True)
class Exhibit:
    """A defect of a structure, and the pattern of crash bugs that it is of, if of a known one."""

    structure: type[Structure]
    defect: str
    text: str
    pattern: str = ""

    def workload(self, *, right: bool = False) -> Workload:
        """It, or the same structure without it."""
        return self.structure("" if right else self.defect).workload()


# Patterns of crash bugs that are known from other stores; each has an exhibit.
PATTERNS = (
    "payload unflushed",
    "fence missing",
    "edge line",
    "published first",
    "write before undo",
    "log dropped early",
    "two-word commit",
    "recovery order",
    "stale record",
    "generation kept",
    "linked or freed early",
    "dead owner",
    "growth",
    "race of processes",
    "slot leak",
    "tearable store",
    "weak checksum",
    "endless recovery",
)
EXHIBITS = (
    Exhibit(Log, "no-flush", "a record is published and never flushed", "payload unflushed"),
    Exhibit(
        Log,
        "no-fence",
        "a record is flushed, but no fence is before its publication",
        "fence missing",
    ),
    Exhibit(Log, "wrong-line", "the flush is of another line than the record's"),
    Exhibit(
        Log, "first-line-only", "of a record of two lines only the first is flushed", "edge line"
    ),
    Exhibit(Log, "unflushed-count", "what publishes a record is never flushed"),
    Exhibit(Log, "late-fence", "the operation returns before a fence"),
    Exhibit(
        Slot,
        "valid-first",
        "in one line the word that publishes is stored first",
        "published first",
    ),
    Exhibit(Text, "two-words", "place and length are two words in two lines", "two-word commit"),
    Exhibit(
        Text, "tearable", "one value is stored as two, each durable by itself", "tearable store"
    ),
    Exhibit(
        Ring, "checksum-skips-length", "the checksum does not cover the length", "weak checksum"
    ),
    Exhibit(
        Ring,
        "reused-log",
        "old records are overwritten, but only one of them is flushed",
        "stale record",
    ),
    Exhibit(
        Bank, "in-place-first", "data change before the undo record is durable", "write before undo"
    ),
    Exhibit(Bank, "half-flushed", "one of two changed lines is not flushed before the commit"),
    Exhibit(
        Bank,
        "truncated-early",
        "the undo record is dropped before the data are durable",
        "log dropped early",
    ),
    Exhibit(
        Bank,
        "cleared-before-repair",
        "recovery drops its record before the repair",
        "recovery order",
    ),
    Exhibit(Bank, "relative-undo", "the undo record says how much, not what was"),
    Exhibit(
        Batch,
        "generation-kept",
        "recovery does not end the generation of what it drops",
        "generation kept",
    ),
    Exhibit(
        Stack,
        "linked-before-bitmap",
        "a block is linked before it is taken",
        "linked or freed early",
    ),
    Exhibit(
        Stack,
        "freed-before-unlink",
        "a block is used again before it is unlinked",
        "linked or freed early",
    ),
    Exhibit(Stack, "leaked-block", "recovery does not look for blocks that nobody has"),
    Exhibit(
        Queue, "endless-recovery", "recovery follows links that may lead back", "endless recovery"
    ),
    Exhibit(Versions, "torn-pair", "a pair is overwritten in place"),
    Exhibit(Versions, "version-with-data", "a version is stored with the data, not behind them"),
    Exhibit(Vector, "size-first", "the length is durable before what it covers", "growth"),
    Exhibit(
        Locked,
        "half-left",
        "the lock of a dead owner is freed, its half change stays",
        "dead owner",
    ),
    Exhibit(Locked, "bare-pid", "an owner is a pid, which somebody else has now", "dead owner"),
    Exhibit(
        Index,
        "unpersisted-read",
        "what rests on another's value is durable before it",
        "race of processes",
    ),
    Exhibit(Slots, "slot-leak", "the slot of a dead reader is never given back", "slot leak"),
)
