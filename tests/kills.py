"""Killing processes at random while others go on with the same work."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable


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
