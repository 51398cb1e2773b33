"""Killing processes at random while others go on with the same work.

VASMEM_SEED repeats a failure; VASMEM_KILLS sets how many kills there are.
"""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# In a run of all tests.
KILLS = 60


@contextmanager
def replayable(kills: int = KILLS) -> Iterator[tuple[int, int]]:
    """Seed and number of kills; a failure prints the line that repeats it."""
    seed = int(os.environ.get("VASMEM_SEED") or random.SystemRandom().randrange(1 << 30))
    kills = int(os.environ.get("VASMEM_KILLS") or kills)
    try:
        yield seed, kills
    except BaseException:
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        print(f"replay: VASMEM_SEED={seed} VASMEM_KILLS={kills} pytest '{test}'")
        raise


def forked(work: Callable[[], object]) -> int:
    """A child that does this and nothing else; its pid."""
    child = os.fork()
    if child != 0:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def ended_well(children: list[int]) -> bool:
    return [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def kill(child: int) -> None:
    """SIGKILL for a child that lives; all that it held is free afterwards."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it failed before"


def transaction_killed(
    work: Callable[[Callable[[], object]], object], delay_us: int
) -> tuple[bool, bool]:
    """A child that does this and calls what it is given before its commit and after; SIGKILL for it
    so long after the first call. Whether it came to its commit, and to its end."""
    receive, send = os.pipe()

    def child() -> None:
        work(lambda: os.write(send, b"."))
        signal.pause()

    pid = forked(child)
    os.close(send)
    told = os.read(receive, 1)
    end = time.perf_counter_ns() + delay_us * 1000
    while time.perf_counter_ns() < end:
        pass
    kill(pid)
    told += os.read(receive, 1)
    os.close(receive)
    return len(told) > 0, len(told) > 1


def kill_often(works: list[Callable[[], object]], kills: int, seed: int) -> None:
    """One child for each of these works, which never end; kills one after the other and starts it
    anew, as often as asked."""
    chance = random.Random(seed)
    children = [forked(work) for work in works]
    try:
        for _ in range(kills):
            time.sleep(chance.random() * 0.02)
            victim = chance.randrange(len(works))
            kill(children.pop(victim))
            children.insert(victim, forked(works[victim]))
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(ends) == {-signal.SIGKILL}, "some failed before"
