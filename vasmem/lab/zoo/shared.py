"""What several processes share: a lock whose owner dies, a value that another one builds on."""

from __future__ import annotations

from typing import Any, ClassVar

from vasmem.lab.zoo.structure import Structure, line
from vasmem.memory import Area

OWNER_AT, OLD_LEFT, OLD_RIGHT = 16, 0, 8
EPOCH, LEFT, RIGHT = line(1), line(2), line(3)
# Of every process here: pids come again, in a container even the same one each time.
PID = 1
TOTAL = 100


class Locked(Structure):
    """Two halves that change under a lock; whoever comes after a dead owner undoes its half."""

    fields: ClassVar = {
        "old": (OLD_LEFT, 16),
        "owner": OWNER_AT,
        "epoch": EPOCH,
        "left": LEFT,
        "right": RIGHT,
    }
    ops: ClassVar = (("split", 60), ("split", 30))

    def prepare(self, node: Area) -> None:
        """All is on the left."""
        node.store(LEFT, TOTAL)
        node.persist(LEFT)

    def _me(self, node: Area) -> int:
        return PID if self.has("bare-pid") else node.load(EPOCH) << 16 | PID

    def split(self, node: Area, left: int) -> None:
        """Take the lock with a note of what was, change both halves, give it back."""
        node.store(OLD_LEFT, node.load(LEFT))
        node.store(OLD_RIGHT, node.load(RIGHT))
        node.store(OWNER_AT, self._me(node))
        node.persist(0, 24)
        node.store(LEFT, left)
        node.store(RIGHT, TOTAL - left)
        node.flush(LEFT)
        node.flush(RIGHT)
        node.fence()
        node.store(OWNER_AT, 0)
        node.persist(OWNER_AT)

    def recover(self, node: Area) -> None:
        """A new epoch; an owner of an older one is dead, and its half is undone."""
        node.store(EPOCH, node.load(EPOCH) + 1)
        node.persist(EPOCH)
        owner = node.load(OWNER_AT)
        if owner in (0, self._me(node)):
            return
        if not self.has("half-left"):
            node.store(LEFT, node.load(OLD_LEFT))
            node.store(RIGHT, node.load(OLD_RIGHT))
            node.flush(LEFT)
            node.flush(RIGHT)
            node.fence()
        node.store(OWNER_AT, 0)
        node.persist(OWNER_AT)

    def read(self, node: Area) -> Any:
        """Both halves."""
        return node.load(LEFT), node.load(RIGHT)

    def verify(self, node: Area) -> None:
        """Nobody has the lock."""
        assert node.load(OWNER_AT) == 0, "the lock is taken, and nobody will give it back"


class Index(Structure):
    """A value of one process, and what another one derives from it; this may lag, not lead."""

    fields: ClassVar = {"value": 0, "derived": line(1)}
    ops: ClassVar = (("grow", 5), ("grow", 7))

    def grow(self, index: Area, by: int) -> None:
        """One stores, the other sees it and builds on it before the first has made it durable."""
        index.store(0, index.load(0) + by)
        seen = index.load(0)
        if not self.has("unpersisted-read"):
            index.persist(0)
        index.store(line(1), 2 * seen)
        index.persist(line(1))
        index.persist(0)

    def recover(self, index: Area) -> None:
        """What lags is derived again."""
        if index.load(line(1)) < 2 * index.load(0):
            index.store(line(1), 2 * index.load(0))
            index.persist(line(1))

    def read(self, index: Area) -> Any:
        """Both."""
        return index.load(0), index.load(line(1))


class Slots(Structure):
    """Whoever reads has a slot, which holds back those who free; the dead must lose theirs."""

    fields: ClassVar = {"slot": 0, "served": line(1)}
    ops: ClassVar = (("serve",), ("serve",))

    def serve(self, slots: Area) -> None:
        """Take the slot, serve, give it back; the slot itself need not be durable."""
        slots.store(0, PID)
        slots.store(line(1), slots.load(line(1)) + 1)
        slots.persist(line(1))
        slots.store(0, 0)

    def recover(self, slots: Area) -> None:
        """Nobody lives who could have a slot."""
        if not self.has("slot-leak") and slots.load(0):
            slots.store(0, 0)
            slots.persist(0)

    def read(self, slots: Area) -> Any:
        """How often it served."""
        return slots.load(line(1))

    def verify(self, slots: Area) -> None:
        """No slot is taken."""
        assert slots.load(0) == 0, "a slot is taken, and nobody will give it back"
