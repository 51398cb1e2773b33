"""`guard=True`: operations change a segment, and nothing else that the program does."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import vasmem

Make = Callable[..., vasmem.Segment]
USERS = {f"user {number}": number for number in range(2000)}

# Where a stray write goes: into the header, a lane, the heap, a value that is looked at, an array.
STRAY = """
import ctypes, sys, numpy, vasmem
segment = vasmem.attach(sys.argv[1], guard=True)
users = segment.hashmap("users")
users["ada"] = 2
base = segment._core.base_address
view = segment.hashmap("raw", raw=True).view(b"key")
maps = [line.split() for line in open("/proc/self/maps")]
starts = {int(line[0].split("-")[0], 16): line[4] for line in maps}
places = {
    "other mapping": next(at for at in starts if starts[at] == starts[base] and at != base),
    "header": base,
    "lane": base + (1 << 14),
    "heap": base + (1 << 24),
    "value": numpy.frombuffer(view, "u1").ctypes.data,
    "array": segment.array("prices").view.ctypes.data,
}
address = places[sys.argv[2]]
if sys.argv[2] != "other mapping":
    assert len(ctypes.string_at(address, 8)) == 8
print("reads", flush=True)
ctypes.memset(address, 255, 8)
"""


@pytest.fixture
def guarded(make: Make) -> vasmem.Segment:
    segment = make(guard=True)
    segment.hashmap("users").update(USERS)
    segment.hashmap("raw", raw=True)[b"key"] = b"value" * 100
    segment.array("prices", (1000,), "f8")[:] = np.arange(1000)
    return segment


@pytest.mark.parametrize("where", ["header", "lane", "heap", "value", "array", "other mapping"])
def test_a_stray_write_faults(guarded: vasmem.Segment, where: str) -> None:
    command = [sys.executable, "-c", STRAY, guarded.url, where]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGSEGV, "reads\n")
    assert guarded.check() == []
    assert guarded.hashmap("users")["ada"] == 2
    assert guarded.hashmap("raw", raw=True)[b"key"] == b"value" * 100
    assert (guarded.array("prices").read() == np.arange(1000)).all()


def test_every_structure_is_written_by_operations(guarded: vasmem.Segment) -> None:
    users = guarded.hashmap("users")
    with guarded.transaction():
        users["ada"] = "x" * 100_000
        guarded.btree("by age")[37] = "ada"
    queue = guarded.queue("jobs", 10)
    queue.put("one")
    with guarded.lock("writer"):
        assert guarded.counter("visits").incr(2) == 2
    guarded.set("tags").add("new")
    ages = guarded.hashmap("ages", key="u8", value="f8")
    ages[7] = 3.5
    guarded.memory.area("own", 4096).store(0, 5)
    guarded.sync()
    assert (users["ada"], guarded.btree("by age")[37], queue.get()) == ("x" * 100_000, "ada", "one")
    assert (list(guarded.set("tags")), ages[7]) == (["new"], 3.5)
    assert guarded.memory.area("own").load(0) == 5
    del guarded["users"]
    with vasmem.attach(guarded.url) as plain:
        assert not plain.guard
        assert "users" not in plain
        assert plain.check() == []


def test_it_grows(make: Make) -> None:
    segment = make(guard=True, size="64K", max_size="64M")
    before = segment.size
    values = segment.hashmap("values", raw=True)
    for number in range(100):
        values[number.to_bytes(8, "little")] = bytes(100_000)
    assert segment.size > before
    assert segment.check() == []


def test_views_cannot_be_written(guarded: vasmem.Segment) -> None:
    prices = guarded.array("prices")
    view = prices.view
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    prices[0] = 5
    assert view[0] == 5
    assert guarded.hashmap("raw", raw=True).view(b"key").readonly


def test_threads_write_at_once(guarded: vasmem.Segment) -> None:
    users = guarded.hashmap("users")

    def write(thread: int) -> None:
        for number in range(200):
            users[f"{thread} {number}"] = number

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(users) == len(USERS) + 800


def test_a_forked_child_writes(guarded: vasmem.Segment) -> None:
    users = guarded.hashmap("users")
    child = os.fork()
    if child == 0:
        users["child"] = 1
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    users["parent"] = 1
    assert users["child"] == 1


def test_handlers_run_between_writes(guarded: vasmem.Segment) -> None:
    users = guarded.hashmap("users")
    calls = []

    def handle(number: int, _: object) -> None:
        users[f"handler {len(calls)}"] = len(calls)
        calls.append(number)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while len(calls) < 20:
            users["ada"] = len(calls)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(users) == len(USERS) + 1 + len(calls)


def test_what_a_killed_writer_left_is_recovered(guarded: vasmem.Segment) -> None:
    code = (
        "import os, signal, sys, vasmem\n"
        "segment = vasmem.attach(sys.argv[1], guard=True)\n"
        "with segment.transaction():\n"
        "    segment.hashmap('users')['ada'] = 'lost'\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, guarded.url], check=False)
    guarded.hashmap("users")["bob"] = 3
    assert "ada" not in guarded.hashmap("users")


def test_a_handle_keeps_it(guarded: vasmem.Segment) -> None:
    assert guarded.guard
    with pickle.loads(pickle.dumps(guarded)) as again:
        assert again.guard
    with vasmem.open(guarded.url, guard=True) as again:
        assert again.guard
    with vasmem.attach(guarded.url, readonly=True, guard=True) as reader:
        assert not reader.guard
        assert reader.hashmap("users")["user 7"] == 7
