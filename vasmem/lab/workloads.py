"""Workloads: what is done to a segment, recorded, and what may be there after a crash."""

from __future__ import annotations

import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vasmem import _core
from vasmem.lab.ground import Ground
from vasmem.lab.reading import contents, same
from vasmem.lab.trace import MARK, Recorder, Trace

if TYPE_CHECKING:
    from vasmem.segment import Segment

# An operation as data: its name and its arguments.
Op: TypeAlias = "tuple[Any, ...]"
Hook: TypeAlias = "Callable[[Segment], Any]"
SEGMENT = "256K"


class _Enough(BaseException):
    """As many operations as were asked for are done."""


@dataclass(frozen=True)
class Promise:
    """What a crash may leave, and in words when."""

    legal: list[Any]
    words: str
    number: int = 0


@dataclass
class Recording:
    """A trace, the operations in it, and what was promised from which event on."""

    trace: Trace
    ops: list[Op] = field(default_factory=list)
    promises: list[tuple[int, Promise]] = field(default_factory=list)
    flushed_at: dict[str, str] = field(default_factory=dict)

    def promise(self, point: int) -> Promise:
        """What holds for a crash just before the event of that number."""
        index = bisect_right(self.promises, point, key=lambda entry: entry[0]) - 1
        return self.promises[max(index, 0)][1]

    def allow(self, since: int, legal: list[Any], words: str) -> None:
        """From that event on, a crash may leave one of these."""
        self.promises.append((since, Promise(legal, words, len(self.promises))))


class Workload:
    """What is done to a segment, with what belongs to a structure of one's own.

    `function(segment, op)` does it, where each `with op("put", 1):` is an operation. With `ops`, a
    list of tuples, it is `function(segment, *op)` that is called for each, and a failing case is
    shrunk by leaving some out. `setup(segment)` comes before, and is not recorded. `recover` is
    called after each crash, `contents` reads what is compared (by default what all structures of
    vasmem hold), `check` raises or returns what is wrong.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        segment: int | str = SEGMENT,
        max_size: int | str | None = None,
        setup: Hook | None = None,
        ops: Sequence[Op] | None = None,
        recover: Hook | None = None,
        contents: Hook | None = None,
        check: Hook | None = None,
        name: str | None = None,
    ) -> None:
        self.function = function
        self.size, self.max_size = segment, max_size
        self.setup, self.recover, self.contents, self.check = setup, recover, contents, check
        self.ops = None if ops is None else [tuple(op) for op in ops]
        self.name = name or str(getattr(function, "__name__", "workload"))
        try:
            self.file = inspect.getsourcefile(function) or ""
        except TypeError:
            self.file = ""
        try:
            self._parameters = len(inspect.signature(function).parameters)
        except ValueError:
            self._parameters = 1

    def __call__(self, *arguments: Any) -> Any:
        """The function itself."""
        return self.function(*arguments)

    def read(self, segment: Segment) -> Any:
        """The contents of a segment, as they are compared."""
        return (self.contents or contents)(segment)

    def prepared(self) -> Ground:
        """A segment as it is when recording begins."""
        ground = Ground.made(self.size, self.max_size)
        with ground.attach() as segment:
            if self.setup is not None:
                self.setup(segment)
        return ground

    def record(
        self,
        ops: Sequence[Op] | None = None,
        *,
        omitted: str | None = None,
        tape: _core.Tape | None = None,
    ) -> Recording:
        """Do it once. `ops` in the place of its own; `omitted` is a flush or fence to leave out."""
        with self.prepared() as ground:
            base = ground.read()
            tape = tape or _core.Tape()
            segment = ground.attach(tape)
            recorder = Recorder(segment, tape, omitted)
            diary = Diary(self, segment, tape)
            try:
                self.run(segment, diary, self.ops if ops is None else list(ops))
                diary.finish()
                segment._core.tap(None)
                trace = recorder.whole(base)
            finally:
                recorder.stop()
                segment._core.tap(None)
                segment.close()
            made = diary.recording(trace)
            made.flushed_at = recorder.flushed_at
            return made

    def run(self, segment: Segment, diary: Diary, ops: list[Op] | None) -> None:
        """Do it to a segment."""
        if ops is not None:
            for op in ops:
                with diary.op(*op):
                    self.function(segment, *op)
        elif self._parameters > 1:
            self.function(segment, diary.op)
        else:
            with diary.op(self.name):
                self.function(segment)

    def again(self, segment: Segment, diary: Diary, many: int) -> None:
        """Do its first operations once more, as somebody who goes on after a crash."""
        diary.left = many
        with suppress(_Enough):
            self.run(segment, diary, None if self.ops is None else self.ops[:many])


class Diary:
    """Notes operations on a tape, and what the segment holds between them."""

    def __init__(self, workload: Workload, segment: Segment, tape: _core.Tape) -> None:
        self._workload, self._segment, self._tape = workload, segment, tape
        self._ops: list[Op] = []
        self._notes: list[tuple[list[Any], str]] = []
        self._stores = tape.stores
        self.held = workload.read(segment)
        self.left: int | None = None
        self._note([self.held], "before any operation")

    def _note(self, legal: list[Any], words: str) -> None:
        self._tape.at_site(0)
        self._tape.mark(len(self._notes))
        self._notes.append((legal, words))

    @contextmanager
    def op(self, name: str, *arguments: Any) -> Iterator[None]:
        """An operation: after a crash in it, it is there as a whole or not at all."""
        if self.left is not None:
            if self.left == 0:
                raise _Enough
            self.left -= 1
        self._outside()
        words = f"{name}({', '.join(map(repr, arguments))})"
        # What it leads to is known at its end.
        legal: list[Any] = [self.held]
        self._note(legal, f"in {words}")
        yield
        after = self._workload.read(self._segment)
        if not same(after, self.held):
            legal.append(after)
        self.held = after
        self._note([after], f"after {words}")
        self._ops.append((name, *arguments))
        self._stores = self._tape.stores

    def _outside(self) -> None:
        """What was stored outside of operations counts as one that nobody waits for."""
        if self._tape.stores == self._stores:
            return
        now = self._workload.read(self._segment)
        if not same(now, self.held):
            legal, words = self._notes[-1]
            legal.append(now)
            self.held = now
            self._notes[-1] = (legal, f"{words}, outside of operations")
            self._note([now], "after what is outside of operations")
        self._stores = self._tape.stores

    def finish(self) -> None:
        """All is done."""
        self._outside()

    def recording(self, trace: Trace) -> Recording:
        """What was noted, with the places of it in the trace."""
        made = Recording(trace, self._ops)
        (marks,) = np.nonzero(trace.events["kind"] == MARK)
        for mark, (legal, words) in zip(marks.tolist(), self._notes, strict=True):
            made.allow(mark + 1, legal, words)
        return made


def as_workload(found: Any) -> Workload:
    """A workload, or one of a plain function."""
    if isinstance(found, Workload):
        return found
    if callable(found):
        return Workload(found)
    raise TypeError(f"a workload is a function or made by lab.workload, not {found!r}")


def workload(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator that makes a Workload of a function; options are those of Workload."""
    if function is not None:
        return Workload(function, **options)
    return lambda function: Workload(function, **options)
