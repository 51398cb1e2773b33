"""Views of values in the segment itself, which nobody changes or uses again under them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import vasmem

Make = Callable[..., vasmem.Segment]

SIZES = [0, 1, 20, 255, 300, 5_000, 70_000, 300_000]

# Replaces, deletes and puts back, so that whatever is free is used again.
CHURN = """
import sys
import vasmem

segment = vasmem.attach(sys.argv[1])
blobs = segment.hashmap("blobs", raw=True)
for turn in range(30):
    for key in list(blobs):
        size = len(blobs[key])
        if turn % 3:
            blobs[key] = bytes([turn]) * size
        else:
            del blobs[key]
            blobs[key] = b"\\xee" * size
"""


def churn(segment: vasmem.Segment) -> None:
    subprocess.run([sys.executable, "-c", CHURN, segment.url], check=True)


def is_pinned(view: memoryview) -> bool:
    return type(view.obj).__name__ == "Pinned"


@pytest.mark.parametrize("raw", [False, True])
def test_a_view_is_the_value_as_it_was(segment: vasmem.Segment, raw: bool) -> None:
    blobs = segment.hashmap("blobs", raw=raw)
    values = {b"%d" % size: os.urandom(size) for size in SIZES}
    blobs.update(values)
    views = {key: blobs.view(key) for key in values}
    assert all(is_pinned(view) and view.readonly for view in views.values())
    if raw:
        churn(segment)
        assert all(len(set(value)) <= 1 for value in blobs.values())
    else:
        blobs.update({key: b"x" * len(value) for key, value in values.items()})
    assert {key: bytes(view) for key, view in views.items()} == values
    assert segment.check() == []
    with pytest.raises(TypeError):
        views[b"20"][0] = 1


def test_what_was_pinned_is_free_again(make: Make) -> None:
    segment = make(max_size="4M")
    blobs = segment.hashmap("blobs", raw=True)
    for turn in range(60):
        blobs[b"large"] = bytes([turn]) * 500_000
        view = blobs.view(b"large")
        assert view[0] == view[-1] == turn
        del view
    views = []
    with pytest.raises(vasmem.SegmentFull):
        for turn in range(60):
            blobs[b"large"] = bytes([turn]) * 500_000
            views.append(blobs.view(b"large"))
    assert [view[0] for view in views] == list(range(len(views)))
    assert len(views) >= 4
    views.clear()
    blobs[b"large"] = b"again"
    for turn in range(60):
        blobs[b"large"] = bytes([turn]) * 500_000


def test_a_view_outlives_everything_else(make: Make) -> None:
    segment = vasmem.create(make().url + "2", max_size="1G")
    blobs = segment.hashmap("blobs", raw=True)
    blobs[b"a"] = b"x" * 10_000
    view = blobs.view(b"a")
    del blobs[b"a"], segment["blobs"]
    assert segment.check() == []
    other = vasmem.attach(segment.url)
    vasmem.remove(segment.url)
    segment.close()
    del blobs, segment
    for number in range(500):
        other.hashmap("new", raw=True)[b"%d" % number] = b"y" * 10_000
    assert view == b"x" * 10_000
    assert other.check() == []
    array = np.frombuffer(view, "u1")
    del view
    assert array.sum() == 10_000 * ord("x")
    del array
    assert other.check() == []
    other.close()


def test_where_a_view_is_a_copy(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    blobs[b"a"] = b"one"
    with vasmem.attach(segment.url, readonly=True) as reader:
        copy = reader["blobs"].view(b"a")
        assert copy == b"one"
        assert not is_pinned(copy)
    with segment.transaction():
        blobs[b"a"] = b"two"
        copy = blobs.view(b"a")
        assert copy == b"two"
        assert not is_pinned(copy)


def test_what_has_no_view(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users")
    users["text"], users["list"], users["bytes"] = "text", [b"x"], b"x"
    for key in ("text", "list"):
        with pytest.raises(vasmem.WrongType, match='of type bytes, this one in hash map "users"'):
            users.view(key)
    with pytest.raises(KeyError) as caught:
        users.view("missing")
    assert caught.value.args == ("missing",)
    segment.close()
    with pytest.raises(vasmem.VasmemError, match="closed"):
        users.view("bytes")


def test_thousands_of_views(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    keys = [b"%d" % number for number in range(20_000)]
    blobs.put_many(keys, keys)
    views = [blobs.view(key) for key in keys]
    pinned = sum(map(is_pinned, views))
    assert 16_000 < pinned < 20_000, "beyond the places for pins a view is a copy"
    blobs.put_many(keys[::100], [b"-" * len(key) for key in keys[::100]])
    assert views == keys
    views.clear()
    assert is_pinned(blobs.view(keys[0]))


def test_pins_end_with_a_killed_process(make: Make) -> None:
    segment = make(max_size="4M")
    blobs = segment.hashmap("blobs", raw=True)
    blobs[b"large"] = b"x" * 1_000_000
    program = (
        "import os, sys, vasmem; segment = vasmem.attach(sys.argv[1]);"
        "view = segment['blobs'].view(b'large'); print(len(view), flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", program, segment.url], stdin=pipe, stdout=pipe)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1000000\n"
        blobs[b"large"] = b"y" * 1_000_000
        assert segment.check() == []
        child.kill()
    for number in range(50):
        blobs[b"large"] = bytes([number]) * 1_000_000


def test_threads_view_while_others_write(segment: vasmem.Segment) -> None:
    blobs = segment.hashmap("blobs", raw=True)
    sizes = [50, 6_000]
    for key in range(8):
        blobs[bytes([key])] = b"\0" * sizes[key % 2]
    stop = threading.Event()
    failures: list[str] = []

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn = turn % 250 + 1
            for key in range(8):
                blobs[bytes([key])] = bytes([turn]) * sizes[key % 2]

    def look() -> None:
        for turn in range(3_000):
            view = blobs.view(bytes([turn % 8]))
            before = bytes(view)
            if len(set(before)) != 1 or bytes(view) != before:
                failures.append(f"turn {turn}: torn or changed under the view")

    writer = threading.Thread(target=write)
    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in (writer, *lookers):
        thread.start()
    for thread in lookers:
        thread.join()
    stop.set()
    writer.join()
    assert failures == []
