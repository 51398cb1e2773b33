"""A file whose pages reached the disk at different times: what comes back was once stored."""

import random
from pathlib import Path

import pytest

import vasmem

PAGE, HEAP, BOOT, MARK = 4096, 16 << 20, 384, 640
PAGES_OF_THE_LAST_TIME = 0.9


def write_on(
    segment: vasmem.Segment, chance: random.Random, stored: dict[int, list[object]]
) -> None:
    """Insert, overwrite, replace and delete; `stored` has all values that a key ever had."""
    users = segment.hashmap("users")
    for _ in range(4_000):
        key = chance.randrange(20_000)
        if chance.random() < 0.15:
            users.pop(key, None)
            continue
        value = [chance.randrange(2**32), "x" * chance.randrange(200)]
        stored.setdefault(key, []).append(value)
        users[key] = value


def torn(times: list[bytes], chance: random.Random) -> bytes:
    """Most pages as they were last, the others as at any time."""
    image = bytearray(times[-1])
    for at in range(HEAP, len(image), PAGE):
        if chance.random() > PAGES_OF_THE_LAST_TIME:
            earlier = chance.choice(times)[at : at + PAGE]
            image[at : at + PAGE] = earlier.ljust(PAGE, b"\0")
    image[BOOT] ^= 1
    image[MARK] = 3
    return bytes(image)


@pytest.mark.parametrize("seed", range(4))
def test_a_torn_file_is_salvaged(home: Path, seed: int) -> None:
    chance, url, path = random.Random(seed), f"file://{home}/orders", home / "orders"
    stored: dict[int, list[object]] = {}
    times = []
    with vasmem.create(url, max_size="64M") as segment:
        for _ in range(5):
            write_on(segment, chance, stored)
            times.append(path.read_bytes())
        last = dict(segment["users"])
    path.write_bytes(torn(times, chance))
    with pytest.raises(vasmem.NeedsRecovery):
        vasmem.attach(url)
    report = vasmem.salvage(url, "saved")
    with vasmem.attach("saved") as segment:
        found = dict(segment["users"])
        assert segment.check() == []
    for name in (url, "saved"):
        vasmem.remove(name)
    assert found.keys() <= stored.keys()
    # Values that stand on two pages may be of two times.
    good = [key for key, value in found.items() if value in stored[key]]
    assert len(good) > 0.99 * len(found)
    # An early page of the map's directory knows few of its tables.
    assert len(good) > 0.1 * len(last)
    assert report.lost > 0
