"""`kill -9` at any moment of creating, attaching, growing, forking, removing.

Whatever is left then, `vasmem ls` shows it and `vasmem rm` removes it, lock files included.
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import files_of
from test_fork import in_child

import vasmem
from vasmem.backends import Backend, companions

Url = Callable[[str], str]
NAMES = "abc"
ROUNDS = 60
# A process does some hundred of the deeds below in this time.
LIFE_S = 0.04


def write(segment: vasmem.Segment, chance: random.Random) -> None:
    blobs = segment.hashmap(chance.choice(["one", "two"]), raw=True)
    with segment.transaction():
        for number in range(10):
            blobs[b"%d" % number] = bytes(chance.randrange(20_000))
    blobs.update({b"%d" % number: b"1" for number in range(10)})
    blobs.pop(b"3", None)


def write_in_children(segment: vasmem.Segment, chance: random.Random) -> None:
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            guarded(lambda: write(segment, chance))
        children.append(child)
    write(segment, chance)
    for child in children:
        os.waitpid(child, 0)


def live(url: Url, seed: int) -> None:
    """Do something with some segment, and again; never ends."""
    chance = random.Random(seed)
    while True:
        name = url(chance.choice(NAMES))
        try:
            match chance.randrange(6):
                case 0:
                    vasmem.create(name, max_size="1G").close()
                case 1:
                    vasmem.remove(name)
                case 2:
                    vasmem.segments()
                case 3:
                    with vasmem.open(name, max_size="1G") as segment:
                        write(segment, chance)
                case 4:
                    with vasmem.open(name, max_size="1G") as segment:
                        write_in_children(segment, chance)
                case 5:
                    vasmem.attach(name, readonly=True).close()
        except (vasmem.SegmentNotFound, vasmem.SegmentExists):
            continue


def guarded(function: Callable[[], object]) -> None:
    """All of a forked child; 0, or 1 with the reason on stderr."""
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


@contextmanager
def group(function: Callable[[], object]) -> Iterator[int]:
    """A process that leads a group of its own, which is killed at the end."""
    leader = os.fork()
    if leader == 0:
        os.setpgid(0, 0)
        guarded(function)
    try:
        yield leader
    finally:
        os.setpgid(leader, leader)
        os.killpg(leader, signal.SIGKILL)
        _, status = os.waitpid(leader, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it failed before"


def assert_all_is_shown_and_removed(home: Path) -> None:
    def command(*arguments: str) -> str:
        program = [sys.executable, "-m", "vasmem", *arguments]
        return subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout

    shown = json.loads(command("ls", "--json"))
    files = {path.name: path for path in home.iterdir()}
    named = {name for name in files if not name.startswith(".")}
    assert {found["name"].rpartition("/")[2] for found in shown} == named
    inodes = {name: files[name].stat().st_ino for name in named}
    expected = {companions.lock_name(name, inode) for name, inode in inodes.items()}
    if any(found["backend"] == "dax" for found in shown):
        expected |= {companions.media_name(name, inode) for name, inode in inodes.items()}
    assert set(files) == named | expected, "there is a companion without a segment"
    assert [found for found in shown if found["note"]] == []
    for found in shown:
        with vasmem.attach(found["name"]) as segment:
            assert segment.check() == []
    if shown:
        command("rm", *(found["name"] for found in shown))
    assert list(home.iterdir()) == []


def test_kills_at_random_moments(url: Url, home: Path) -> None:
    chance = random.Random(1)
    for number in range(ROUNDS):
        with group(lambda n=number: live(url, n)), group(lambda n=number: live(url, -n)):
            time.sleep(chance.uniform(0, LIFE_S))
        if number % 30 == 29:
            assert_all_is_shown_and_removed(home)


CALLS = [
    (os, "open"),
    (os, "fchmod"),
    (os, "link"),
    (os, "unlink"),
    (os, "fsync"),
    (fcntl, "flock"),
]
DEEDS: dict[str, Callable[[str], object]] = {
    "create": lambda name: vasmem.create(name, max_size="1G"),
    "attach": lambda name: vasmem.attach(name),
    "remove": vasmem.remove,
    "list": lambda _: vasmem.segments(),
}


def die_at(step: int) -> None:
    """From now on this process dies before the step-th of CALLS, counted from 0."""
    left = step

    def guard(call: Callable[..., object]) -> Callable[..., object]:
        def guarded_call(*arguments: object, **options: object) -> object:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*arguments, **options)

        return guarded_call

    for module, name in CALLS:
        setattr(module, name, guard(getattr(module, name)))


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_kills_before_each_call_on_files(
    backend: Backend, url: Url, home: Path, deed: Callable[[str], object]
) -> None:
    """Whatever a process did to names and locks before it died, the next one copes with it."""
    name = url("a")
    for step in range(100):
        if deed is not DEEDS["create"]:
            vasmem.create(name, max_size="1G").close()

        def child(step: int = step) -> None:
            die_at(step)
            deed(name)

        status = in_child(child)
        assert status in (0, -signal.SIGKILL)
        with vasmem.open(name, max_size="1G") as segment:
            segment.hashmap("users")["k"] = step
            assert segment.check() == []
        vasmem.segments()
        assert len(list(home.iterdir())) == files_of(backend), "a companion is left"
        vasmem.remove(name)
        assert list(home.iterdir()) == []
        if status == 0:
            break
    assert step > 2, "it died at least at some of them"
