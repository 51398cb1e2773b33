"""Judging a state: recovery, contents, checks, and that it all ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from vasmem import _core
from vasmem.errors import VasmemError
from vasmem.lab.reading import nearest, same
from vasmem.lab.workloads import Promise, Workload

if TYPE_CHECKING:
    from vasmem.segment import Segment

# Seconds of processor time for the recovery of one state.
DEADLINE_S = 2.0
# Seconds to wait for anybody: there is nobody else.
PATIENCE_S = 1.0

# Is called with a recovered segment and the promise; raises or returns what is wrong.
Oracle: TypeAlias = "Callable[[Segment, Promise], Any]"
Attach: TypeAlias = "Callable[[_core.Tape | None], Segment]"


class Overdue(BaseException):
    """It takes too long, so that it seems to go on for ever."""


def _nothing(_: object = None) -> None:
    """Does nothing."""


@contextmanager
def limited(seconds: float = DEADLINE_S) -> Iterator[Callable[[], None]]:
    """Limits processor time; yields what starts the time anew. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield _nothing
        return

    def late(*_: object) -> None:
        raise Overdue(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGVTALRM, late)
    try:
        yield lambda: _nothing(signal.setitimer(signal.ITIMER_VIRTUAL, seconds))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a state; nothing is if `what` is empty."""

    what: str = ""
    details: tuple[str, ...] = ()
    found: Any = None

    def __bool__(self) -> bool:
        return bool(self.what)


@dataclass(frozen=True)
class Judge:
    """Recovers states of a workload and looks at them."""

    workload: Workload
    oracle: Oracle | None = None
    # Starts the time of a state, see `limited`.
    start: Callable[[], None] = _nothing
    # A flush or fence that is left out, in recoveries too.
    omitted: str | None = None

    def __call__(
        self, attach: Attach, promise: Promise, then: Callable[[Segment, Any], None] | None = None
    ) -> Verdict:
        """The verdict on one; `then` goes on with a segment that is right and its contents."""
        segment: Segment | None = None
        step = "attaching"
        self.start()
        try:
            segment = attach(None)
            segment.timeout = PATIENCE_S
            step = "recovery"
            if self.workload.recover is not None:
                self.workload.recover(segment)
            step = "reading"
            found = self.workload.read(segment)
            if not any(same(found, legal) for legal in promise.legal):
                details = tuple(nearest(found, promise.legal))
                return Verdict(f"illegal contents {promise.words}", details, found)
            step = "check"
            wrong = self._checked(segment, promise)
            if wrong:
                return Verdict(wrong[0], tuple(wrong[1:]), found)
            if then is not None:
                then(segment, found)
            return Verdict(found=found)
        except Overdue as late:
            return Verdict(f"{step} does not end ({promise.words})", (str(late),))
        except Exception as error:
            kind = type(error).__name__
            return Verdict(f"{step} raises {kind} ({promise.words})", (str(error),))
        finally:
            if segment is not None:
                segment.memory._watch = None
                _close(segment)

    def _checked(self, segment: Segment, promise: Promise) -> list[str]:
        broken = segment.check()
        if broken:
            number, place, text = broken[0]
            return [f"check() finds {len(broken)} broken", f"invariant {number} at {place}: {text}"]
        for name, hook in (("check", self.workload.check), ("the oracle", self.oracle)):
            if hook is None:
                continue
            arguments: tuple[Any, ...] = (segment,) if name == "check" else (segment, promise)
            try:
                told: Any = hook(*arguments)
            except AssertionError as error:
                return [f"{name} fails ({promise.words})", str(error)]
            if told is not None and told is not True and told != []:
                return [f"{name} tells: {told!r} ({promise.words})"]
        return []


def _close(segment: Segment) -> None:
    segment._core.tap(None)
    # What was wrong with it was told already.
    with suppress(VasmemError):
        segment.close()


def Invariant(function: Callable[[Segment], Any]) -> Oracle:  # noqa: N802
    """An oracle of what always holds: it raises, or returns False or what is wrong."""

    def ask(segment: Segment, _: Promise) -> Any:
        return function(segment)

    return ask
