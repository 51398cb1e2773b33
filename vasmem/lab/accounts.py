"""What `vasmem lab storm` does: money moves between accounts, and none is made or lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vasmem.segment import Segment

ACCOUNTS, EACH = 64, 1000


def setup(segment: Segment) -> None:
    """Everybody has the same."""
    segment.hashmap("even").update(dict.fromkeys(range(0, ACCOUNTS, 2), EACH))
    segment.btree("odd").update(dict.fromkeys(range(1, ACCOUNTS, 2), EACH))


def work(segment: Segment, number: int, rng: random.Random) -> None:
    """One transfer, and some growth that the workers have apart."""
    structures = segment.hashmap("even"), segment.btree("odd")
    giver, taker = rng.sample(range(ACCOUNTS), 2)
    amount = rng.randrange(1, 10)
    with segment.transaction():
        for account, by in ((giver, -amount), (taker, amount)):
            structure = structures[account % 2]
            structure[account] = structure[account] + by
    segment.hashmap(f"worker {number}")[rng.randrange(10_000)] = "x" * rng.randrange(200)


def check(segment: Segment) -> list[str]:
    """No money is made or lost."""
    found = sum(segment.hashmap("even").values()) + sum(segment.btree("odd").values())
    wanted = ACCOUNTS * EACH
    return [] if found == wanted else [f"there are {found}, not {wanted}"]
