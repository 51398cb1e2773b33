"""State machines of hypothesis with one rule more: the power fails."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any

from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, rule

from vasmem import _core
from vasmem.lab.ground import Ground
from vasmem.lab.judge import Judge
from vasmem.lab.result import CrashFound
from vasmem.lab.trace import Recorder
from vasmem.lab.workloads import Diary, Workload


class CrashMachine(RuleBasedStateMachine):
    """A segment, and the rule `crash`; made by lab.machine.

    Rules of a subclass change `self.segment` inside of `with self.op("name", ...):`. After a crash
    and its recovery `recovered` is called with the contents, which are legal, so that a model can
    go on from there.
    """

    workload: Workload

    def __init__(self) -> None:
        super().__init__()
        self._begin(self.workload.prepared())

    def _begin(self, ground: Ground) -> None:
        self._ground, self._base, self._tape = ground, ground.read(), _core.Tape()
        self.segment = ground.attach(self._tape)
        self._recorder = Recorder(self.segment, self._tape)
        self._diary = Diary(self.workload, self.segment, self._tape)

    def op(self, name: str, *arguments: Any) -> AbstractContextManager[None]:
        """An operation: after a crash in it, it is there as a whole or not at all."""
        return self._diary.op(name, *arguments)

    def recovered(self, contents: Any) -> None:
        """The power failed, and this is what is there now."""

    @rule(seed=strategies.integers(0, 2**32 - 1))
    def crash(self, seed: int) -> None:
        """The power fails somewhere since the last time; what is recovered must be legal."""
        self._diary.finish()
        self.segment._core.tap(None)
        recording = self._diary.recording(self._recorder.trace(self._base))
        self._end()
        rng, trace = random.Random(seed), recording.trace
        ground = Ground()
        bench = _core.Bench(ground.fd, trace.base, trace.events.tobytes(), model="px86", power=True)
        point = rng.choice(bench.points())[0]
        state = [rng.randint(0, len(steps)) for _, steps in bench.pending(point)]
        bench.put(point, state)
        verdict = Judge(self.workload)(ground.attach, recording.promise(point))
        self._begin(ground)
        if verdict:
            details = "".join(f"\n  {line}" for line in verdict.details)
            raise CrashFound(f"{verdict.what}{details}")
        self.recovered(verdict.found)

    def _end(self) -> None:
        self._recorder.stop()
        self.segment._core.tap(None)
        self.segment.close()
        self._ground.close()

    def teardown(self) -> None:
        """Give back what it holds."""
        self._end()


def machine(**options: Any) -> type[CrashMachine]:
    """A state machine to derive from, over a segment made with the options of lab.Workload."""
    made = Workload(_nothing, **options)
    return type("Machine", (CrashMachine,), {"workload": made})


def _nothing(_: object) -> None:
    """Does nothing."""
