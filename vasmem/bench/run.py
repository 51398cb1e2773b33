"""A run: its options, the stores that it opens, its rounds, and its progress."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vasmem.bench import machine
from vasmem.bench.contestants import Contestant, Site
from vasmem.bench.result import Result

# A disturbed round is taken again, so often in a suite.
REPEATS_MAX = 3


@dataclass(frozen=True)
class Options:
    """What the command line says. Sizes are numbers of records, times are seconds."""

    records: int = 1_000_000
    rounds: int = 3
    seed: int = 1
    directory: Path = Path("/dev/shm")
    disk: Path = Path("/var/tmp")
    names: tuple[str, ...] = ()
    processes_max: int = 8
    # How long a store does one operation in one round, at least a thousand of them.
    box_seconds: float = 0.06
    # How long processes contend, in one round.
    window_seconds: float = 1.0
    # Writers that are killed of each store.
    kills: int = 10

    def tiny(self) -> Options:
        """The same at sizes that show whether all works, and not how fast."""
        return replace(
            self,
            records=3000,
            rounds=1,
            processes_max=2,
            box_seconds=0.005,
            window_seconds=0.05,
            kills=1,
        )


@dataclass
class Run:
    """One run; suites take it, and give rows."""

    options: Options
    console: Console
    result: Result
    shuffle: random.Random = field(init=False)
    _progress: Progress = field(init=False)
    _servers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shuffle = random.Random(self.options.seed)
        columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=True)

    def chosen(self, contestants: Iterable[Contestant]) -> list[Contestant]:
        """Those that take part; notes the settings of these and what others miss."""
        taken = []
        for contestant in contestants:
            if self.options.names and contestant.name not in self.options.names:
                continue
            reason = contestant.missing()
            if reason is not None:
                self.result.missing[contestant.name] = reason
                continue
            taken.append(contestant)
            self.result.contestants[contestant.name] = {
                "settings": contestant.settings,
                "survives": contestant.survives,
            }
        return taken

    @contextlib.contextmanager
    def site(self, records: int, *, disk: bool = False) -> Iterator[Site]:
        """A directory of its own."""
        parent = self.options.disk if disk else self.options.directory
        directory = Path(tempfile.mkdtemp(prefix="vasmem-bench-", dir=parent))
        try:
            yield Site(directory, records)
        finally:
            shutil.rmtree(directory)

    def records_of(self, contestant: Contestant) -> int:
        return min(self.options.records, contestant.records_max or self.options.records)

    @contextlib.contextmanager
    def opened(
        self, contestants: Iterable[Contestant], *, disk: bool = False
    ) -> Iterator[list[tuple[Contestant, Any]]]:
        """A store of each contestant, closed at the end; one that fails to open is missing."""
        with contextlib.ExitStack() as stack:
            site = stack.enter_context(self.site(self.options.records, disk=disk))
            stores = []
            for contestant in contestants:
                try:
                    store = contestant.make(site._replace(records=self.records_of(contestant)))
                except Exception as error:
                    self.result.missing[contestant.name] = f"{type(error).__name__}: {error}"
                    continue
                stack.callback(store.close)
                self._servers.extend(getattr(store, "servers", ()))
                stores.append((contestant, store))
            stack.callback(self._servers.clear)
            yield stores

    @contextlib.contextmanager
    def watched(self, suite: str, steps: int) -> Iterator[Callable[[str], None]]:
        """Shows progress; the function that it gives is called with what each step is about."""
        with self._progress:
            task = self._progress.add_task(suite, total=steps)
            try:
                yield lambda text: self._progress.update(
                    task, advance=1, description=f"{suite}: {text}"
                )
            finally:
                self._progress.remove_task(task)

    def rounds(self, suite: str, one: Callable[[], Any], *, warm_up: bool = True) -> list[Any]:
        """Takes rounds, the first for nothing; again where other programs disturbed one."""
        if warm_up:
            one()
        load = machine.OtherLoad(self._servers)
        facts = self.result.suites.setdefault(suite, {"repeated": 0, "others": 0.0})
        taken: list[Any] = []
        busy: list[float] = []
        while len(taken) < self.options.rounds:
            load.look()
            figures = one()
            others = load.look()
            if others > machine.OTHERS_MAX and facts["repeated"] < REPEATS_MAX:
                facts["repeated"] += 1
                continue
            taken.append(figures)
            busy.append(others)
        facts["others"] = max(facts["others"], *busy)
        return taken


@contextlib.contextmanager
def pinned(core: int = 0) -> Iterator[None]:
    """Keeps this thread on one of the cores that it may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[core % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def collect(taken: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Figures of rounds, by operation and contestant."""
    by: dict[str, dict[str, list[float]]] = {}
    for one in taken:
        for operation, row in one.items():
            for name, figure in row.items():
                by.setdefault(operation, {}).setdefault(name, []).append(figure)
    return by
