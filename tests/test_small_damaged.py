"""Counters, sets, locks and queues of which somebody has overwritten bytes: errors, and salvage."""

import queue
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import vasmem

Url = Callable[[str], str]
SEEDS = 40


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    with vasmem.create(url("old"), max_size="16M") as segment:
        segment.counter("hits").set(7)
        segment.set("tags").update(["a", 1, None])
        jobs = segment.queue("jobs", 30)
        jobs.put_many([*range(20), b"x" * 9_000])
        jobs.get_many(3)
        segment.queue("raw", 5, raw=True).put_many([b"1", b"2"])
        segment.lock("busy").acquire()
    yield home / "old"
    vasmem.remove(url("old"))


@pytest.mark.usefixtures("old")
def test_all_of_what_is_sound_is_salvaged(url: Url) -> None:
    report = vasmem.salvage(url("old"), url("new"))
    assert report.lost == 0
    assert {row.name: (row.kind, row.copied) for row in report.structures} == {
        "hits": ("counter", 1),
        "tags": ("set", 3),
        "jobs": ("queue", 21),
        "raw": ("queue raw", 2),
        "busy": ("lock", 1),
    }
    with vasmem.attach(url("new")) as new:
        assert new["hits"].value == 7
        assert set(new["tags"]) == {"a", 1, None}
        assert new["jobs"].items() == [*range(20), b"x" * 9_000]
        assert new["raw"].items() == [b"1", b"2"]
        assert not new["busy"].locked()
        assert new.check() == []
    vasmem.remove(url("new"))


def use(segment: vasmem.Segment) -> None:
    jobs, lock, hits, tags = (segment[name] for name in ("jobs", "busy", "hits", "tags"))
    for operation in (
        lambda: hits.incr(),
        lambda: tags.add("b"),
        lambda: list(tags),
        lambda: lock.acquire(False) and lock.release(),
        lambda: lock.holder,
        lambda: jobs.put_many([1, 2], False),
        lambda: jobs.get_many(4, False),
        lambda: jobs.done(),
        lambda: jobs.give_back(),
        lambda: jobs.get(False, ack=False),
        lambda: jobs.items(),
        lambda: (jobs.qsize(), jobs.leased, jobs.full()),
        segment.info,
        segment.check,
        lambda: segment.__delitem__("jobs"),
    ):
        with suppress(vasmem.VasmemError, queue.Empty, queue.Full, OverflowError, ValueError):
            operation()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_overwritten_raises_and_ends(url: Url, old: Path, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(old.read_bytes())
    words = [at for at in range(16 << 20, len(content), 8) if any(content[at : at + 8])]
    for _ in range(chance.randint(1, 8)):
        at = chance.choice(words)
        word = int.from_bytes(content[at : at + 8], "little")
        other = int.from_bytes(content[(far := chance.choice(words)) : far + 8], "little")
        new = chance.choice([word ^ 1 << chance.randrange(64), other, 0, 2**64 - 1, word + 64])
        with old.open("r+b") as file:
            file.seek(at)
            file.write((new % 2**64).to_bytes(8, "little"))
    try:
        with vasmem.attach(url("old")) as segment:
            segment.timeout = 0.05
            use(segment)
    except (vasmem.VasmemError, KeyError):
        pass
    try:
        vasmem.salvage(url("old"), url("new"))
        vasmem.remove(url("new"))
    except vasmem.VasmemError:
        pass
