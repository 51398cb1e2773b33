"""A program that ends without closing leaves its file clean, unless it is killed."""

import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_mark import CLEAN, DIRTY, MARK, attach, create, word

import vasmem

GROWTH = 2048
# What is referred to from here is never collected: the interpreter ends with it.
PROGRAM = """
import atexit, ctypes, os, sys, threading, time
import vasmem
from vasmem import _core

def begin():
    segment = vasmem.attach(sys.argv[1])
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(segment))
    users = segment.hashmap("users")
    users["ada"] = 1
    return segment, users

segment, users = begin()
"""


@pytest.fixture
def path(home: Path) -> Iterator[Path]:
    create(home / "orders").close()
    yield home / "orders"
    with attach(home / "orders") as segment:
        assert segment.check() == []
    vasmem.remove(f"file://{home}/orders")


def run(path: Path, statements: str) -> None:
    """To the end of it and of all its children."""
    command = [sys.executable, "-c", PROGRAM + statements, f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_the_interpreter_leaves_it_clean(path: Path) -> None:
    run(path, "atexit.unregister(_core.leave_all)")
    assert word(path, MARK) == DIRTY
    for end in ("", "sys.exit()", "import logging"):
        run(path, end)
        assert word(path, MARK) == CLEAN
        run(path, "os._exit(0)")
        assert word(path, MARK) == DIRTY


def test_what_other_handlers_write_at_the_end(path: Path) -> None:
    """They run before, or make it dirty again."""
    run(path, "atexit.register(users.__setitem__, 'bob', 2)")
    assert word(path, MARK) == CLEAN
    run(path, "_core.leave_all(); users['eve'] = 3; os._exit(0)")
    assert word(path, MARK) == DIRTY
    with attach(path) as segment:
        assert dict(segment["users"]) == {"ada": 1, "bob": 2, "eve": 3}


def test_somebody_else_has_it_attached(path: Path) -> None:
    with attach(path) as segment:
        segment.hashmap("users")
        run(path, "")
        assert word(path, MARK) == DIRTY
    assert word(path, MARK) == CLEAN


@pytest.mark.parametrize(("writes", "mark"), [("", DIRTY), ("users['bob'] = 2", CLEAN)])
def test_a_forked_child_that_ends_last(path: Path, writes: str, mark: int) -> None:
    """Only if it wrote: the parent was killed, and who knows what it was about."""
    child = f"""
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.001)
{writes}
"""
    run(path, "parent = os.getpid()" + child)
    assert word(path, MARK) == mark


@pytest.mark.parametrize("call", ["users.put_many(range(100_000), range(100_000))", "transact()"])
def test_a_daemon_thread_inside_a_call_is_not_waited_for(path: Path, call: str) -> None:
    run(
        path,
        f"""
inside = threading.Event()
def transact():
    with segment.transaction():
        users["bob"] = 2
        time.sleep(1_000)
def work():
    inside.set()
    while True:
        {call}
threading.Thread(target=work, daemon=True).start()
inside.wait()
""",
    )
    with attach(path) as segment:
        assert segment["users"]["ada"] == 1
        assert segment["users"].get("bob") is None


def lock(fd: int, kind: int) -> None:
    """Of the byte that stands for growth."""
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, GROWTH, 1, 0))  # F_OFD_SETLK


def test_other_threads_run_while_a_dropped_segment_is_synced(path: Path) -> None:
    (lock_file,) = path.parent.glob(f".{path.name}.*.lock")
    segment = attach(path)
    segment.hashmap("users")["ada"] = 1
    fd = os.open(lock_file, os.O_RDWR)
    lock(fd, fcntl.F_WRLCK)
    dropping = threading.Event()

    def unlock() -> None:
        dropping.wait()
        time.sleep(0.05)
        lock(fd, fcntl.F_UNLCK)

    other = threading.Thread(target=unlock)
    other.start()
    dropping.set()
    del segment
    assert word(path, MARK) == CLEAN
    other.join()
    os.close(fd)
