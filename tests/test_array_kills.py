"""Writers of an array that are killed at random: each change is there, or is not."""

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from kills import replayable

import vasmem

Make = Callable[..., vasmem.Segment]
Change = tuple[str, Any, int]
# Longest round, in changes; a writer that was not killed ends there.
CHANGES = 20_000
LARGE = 600_000


def change(seed: int, number: int, length: int) -> Change:
    """The change that comes at this place, of an array of this length: what, where, new value."""
    chance = random.Random(seed * 1_000_003 + number)
    value = chance.randrange(1 << 40)
    what = chance.choices(["row", "rows", "some", "all", "append", "extend", "resize"], _WEIGHTS)[0]
    if what == "row":
        return what, chance.randrange(length), value
    if what == "rows":
        start = chance.randrange(length)
        return what, slice(start, start + chance.randrange(1, 3000)), value
    if what == "some":
        return what, sorted(chance.sample(range(length), min(length, 40))), value
    if what == "resize":
        most = LARGE if chance.random() < 0.1 else 3000
        return what, chance.randrange(1, most), value
    return what, chance.randrange(1, 2000), value


_WEIGHTS = [6, 6, 4, 1, 4, 3, 1]


def apply(array: Any, what: str, where: Any, value: int) -> None:
    if what == "append":
        array.append(value)
    elif what == "extend":
        array.extend(np.full(where, value))
    elif what == "resize":
        array.resize(where)
    elif what == "all":
        array[:] = value
    else:
        array[where] = value


class Model:
    """What the array should hold; takes the changes that the array takes."""

    def __init__(self, rows: np.ndarray[Any, Any]) -> None:
        self.rows = rows.copy()

    def __setitem__(self, index: Any, value: int) -> None:
        self.rows[index] = value

    def append(self, value: int) -> None:
        self.extend(np.full(1, value))

    def extend(self, values: np.ndarray[Any, Any]) -> None:
        self.rows = np.concatenate([self.rows, values])

    def resize(self, length: int) -> None:
        rows = np.zeros(length, self.rows.dtype)
        kept = min(length, len(self.rows))
        rows[:kept] = self.rows[:kept]
        self.rows = rows


def write(url: str, seed: int, acknowledge: int) -> None:
    """A writer: makes changes until it dies, a byte for each that is done."""
    with vasmem.attach(url) as segment:
        array = segment.array("array")
        for number in range(CHANGES):
            apply(array, *change(seed, number, len(array)))
            os.write(acknowledge, b".")


def acknowledged(url: str, seed: int, seconds: float) -> int:
    """Changes that a writer had done when it was killed after so many seconds of work."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            write(url, seed, send)
        finally:
            os._exit(0)
    os.close(send)
    done = len(os.read(receive, 1))
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while part := os.read(receive, 1 << 16):
        done += len(part)
    os.close(receive)
    return done


def test_killed_at_random_each_change_is_whole(make: Make) -> None:
    with replayable() as (seed, kills):
        segment = make()
        array = segment.array("array", 1000, "i8")
        chance = random.Random(seed)
        for number in range(kills):
            before = array.read()
            done = acknowledged(segment.url, seed + number, chance.uniform(0, 0.03))
            model = Model(before)
            for step in range(done):
                apply(model, *change(seed + number, step, len(model.rows)))
            found = array.read()
            if not np.array_equal(found, model.rows):
                apply(model, *change(seed + number, done, len(model.rows)))
                assert np.array_equal(found, model.rows), f"kill {number}, change {done}"
            assert segment.check() == []


def test_readers_see_no_half_of_an_update(make: Make) -> None:
    """A writer makes all rows alike again and again; whoever reads them finds them so."""
    segment = make()
    array = segment.array("array", 100_000, "i8")
    pid = os.fork()
    if pid == 0:
        try:
            with vasmem.attach(segment.url) as mine:
                rows = mine.array("array")
                for number in range(1, 1 << 40):
                    rows[:] = number
                    if number % 50 == 0:
                        rows.resize(100_000 + number % 7)
        finally:
            os._exit(1)
    seen = set()
    try:
        with vasmem.attach(segment.url, readonly=True) as other:
            reader = other.array("array")
            while len(seen) < 100:
                found = array.read()[:100_000]
                assert (found == found[0]).all()
                part = reader[10:5000:7]
                assert (part == part[0]).all()
                seen |= {int(found[0]), int(part[0])}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert segment.check() == []


def test_writers_of_the_same_words_lose_nothing(make: Make) -> None:
    """Four processes, each with a byte of its own in every word."""
    segment = make()
    array = segment.array("array", (2000, 8), "u1")
    pids = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with vasmem.attach(segment.url) as mine:
                    rows = mine.array("array")
                    for number in range(1, 300):
                        rows[:, writer] = number % 256
                        rows[number % 2000, writer + 4] = number % 256
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    assert (array.read()[:, :4] == 299 % 256).all()
    assert (array.read()[1:300, 4:] == (np.arange(1, 300) % 256)[:, None]).all()
