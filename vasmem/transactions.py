"""Transactions: changes that happen all together, under a lock or by trying again."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Generic, Literal, ParamSpec, TypeAlias, TypeVar

from vasmem import _core
from vasmem.errors import ConflictError, WrongType

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Way: TypeAlias = Literal["alone", "optimistic", "reading"]

# Runs of an atomic function that others spoilt, after which it runs with all others waiting.
_TRIES = 10


class Transaction(Generic[T]):
    """All or nothing; inside another transaction, a part of it that an exception undoes alone.

    A context manager that gives `inside`. A class of its own, since `contextmanager` takes as long
    as a commit.
    """

    __slots__ = ("_core", "_inside", "_timeout", "_way")

    def __init__(
        self, core: _core.Segment, way: Way, timeout: float | None = None, *, inside: T
    ) -> None:
        self._core = core
        self._way = way
        self._timeout = timeout
        self._inside = inside

    def __enter__(self) -> T:
        self._core.begin(self._way, self._timeout)
        return self._inside

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._core.commit()
        else:
            self._core.rollback()


def atomic(core: _core.Segment, function: Callable[P, R]) -> Callable[P, R]:
    """`function` as one transaction, run again until nobody was in between."""
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise WrongType(
            f"{name} is a coroutine or generator, which cannot run again from its start: put its "
            "reads and writes into a plain function and make that one atomic"
        )

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if core.in_transaction():
            with Transaction(core, "reading" if core.readonly else "alone", inside=None):
                return function(*args, **kwargs)
        return _until_undisturbed(core, lambda: function(*args, **kwargs))

    return run


def _until_undisturbed(core: _core.Segment, function: Callable[[], R]) -> R:
    """What `function` returns in a run in which nothing it had read was changed by others."""
    since = time.monotonic()
    tries = 0
    while core.readonly or tries < _TRIES:
        core.begin("reading" if core.readonly else "optimistic", None)
        try:
            result = function()
        except Exception:
            if core.rollback():
                raise
        except BaseException:
            core.rollback()
            raise
        else:
            try:
                core.commit()
                return result
            except ConflictError:
                pass
        tries += 1
        if core.readonly and time.monotonic() - since > core.timeout:
            raise ConflictError(
                f"segment {core.name!r}: others changed what an atomic function read in each of "
                f"its {tries} runs within {core.timeout} seconds; raise segment.timeout, or attach "
                "for writing, so that it can make them wait"
            )
    with Transaction(core, "alone", inside=None):
        return function()
