"""What writers do until the power fails, and what must be there afterwards.

The operations of a writer follow from its number alone, and no two writers touch the same keys or
rows. So whoever knows how many of them were acknowledged knows what the segment must hold: what
these left, or these and the next one, which may have been committed and not yet acknowledged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

WRITERS = 3
KEYS = 300
ROWS = 64
# Seldom a value that has a node and blocks of its own, and is worth a fence more.
LONG_BYTES = 20_000

Step = Callable[[Any], None]


@dataclass
class State:
    """A writer's part of the structures: in private memory, or those of the segment themselves."""

    users: Any = field(default_factory=dict)
    index: Any = field(default_factory=dict)
    totals: Any = field(default_factory=lambda: [0] * (WRITERS * ROWS))


def steps(writer: int) -> Iterator[Step]:
    """The operations of a writer, without end; each is one transaction."""
    chosen = random.Random(writer)
    for number in range(1 << 40):
        key = f"{writer}:{chosen.randrange(KEYS)}"
        row = writer * ROWS + chosen.randrange(ROWS)
        size = LONG_BYTES if chosen.random() < 0.02 else chosen.randrange(200)
        value = [number, chosen.randbytes(size)]
        kind = chosen.choices(("put", "delete", "insert", "remove", "move"), (4, 1, 4, 1, 3))[0]
        yield STEPS[kind](key, row, value)


def put(key: str, _row: int, value: Any) -> Step:
    def step(state: State) -> None:
        state.users[key] = value

    return step


def delete(key: str, _row: int, _value: Any) -> Step:
    def step(state: State) -> None:
        state.users.pop(key, None)

    return step


def insert(key: str, _row: int, value: Any) -> Step:
    def step(state: State) -> None:
        state.index[key] = value

    return step


def remove(key: str, _row: int, _value: Any) -> Step:
    def step(state: State) -> None:
        state.index.pop(key, None)

    return step


def move(key: str, row: int, value: Any) -> Step:
    """Takes an entry from one structure into another, and notes it in the third."""

    def step(state: State) -> None:
        moved = state.users.pop(key, None)
        state.index[key] = value if moved is None else moved
        state.totals[row] = value[0]

    return step


STEPS = {"put": put, "delete": delete, "insert": insert, "remove": remove, "move": move}


def part(state: State, writer: int) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """What a writer has left in the structures."""
    mine = f"{writer}:"
    users = {key: value for key, value in state.users.items() if key.startswith(mine)}
    index = {key: value for key, value in state.index.items() if key.startswith(mine)}
    rows = [int(total) for total in state.totals[writer * ROWS : (writer + 1) * ROWS]]
    return users, index, rows


def expected(writer: int, done: int) -> list[Any]:
    """The two states that are allowed after so many acknowledged operations."""
    state = State()
    operations = steps(writer)
    for step in islice(operations, done):
        step(state)
    before = part(state, writer)
    next(operations)(state)
    return [before, part(state, writer)]
