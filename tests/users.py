"""Real users: functions that run in forked processes which have put off root for good."""

import ctypes
import multiprocessing
import os
import pwd
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

Result = TypeVar("Result")
SET_DUMPABLE = 4
# A group that nobody is in until a process is put into it; the system asks for no name.
TEAM = 54_321
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class User:
    """Who a process is to be."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = User("root", 0, 0)
_ACCOUNTS = [entry for entry in pwd.getpwall() if entry.pw_uid > 0][:3]
OWNER, MEMBER, STRANGER = (
    User(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)
    for entry, groups in zip(_ACCOUNTS, [(TEAM,), (TEAM,), ()], strict=True)
)


@contextmanager
def acting(user: User, play: Callable[[Connection], object]) -> Iterator[Connection]:
    """Run `play` in a process of that user, with the other end of this connection."""
    ours, theirs = multiprocessing.Pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            become(user)
            play(theirs)
            status = 0
        except BaseException as error:
            traceback.print_exc()
            theirs.send(error)
        finally:
            os._exit(status)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


def run(user: User, function: Callable[[], Result]) -> Result:
    """What `function` returns or raises in a process of that user."""
    with acting(user, lambda connection: connection.send(attempt(function))) as connection:
        done = connection.recv()
    if isinstance(done, BaseException):
        raise done
    return done


def attempt(function: Callable[[], Result]) -> Result | Exception:
    """What `function` returns, or what it raised."""
    try:
        return function()
    except Exception as error:
        return error


def become(user: User) -> None:
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)
    # As a program has it that this user starts; with it, /proc/self belongs to the user.
    assert _libc.prctl(SET_DUMPABLE, 1) == 0
