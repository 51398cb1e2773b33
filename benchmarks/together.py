"""What processes cost each other: two readers of one map, a reader beside a writer, two writers.

`python -m benchmarks.together` starts two readers and two writers of every store, as programs of
their own that attach it, each pinned to one core; the writers have different keys. They wait until
they are told when a window of time begins and ends; alone or two at once, they do one operation
after another in it, and say how many. A round has all windows of all stores, in an order drawn
anew; a process beside another is compared with itself alone, on the same core, in the same round.

The two cores of a machine may be one, or share caches, memory and heat. So "private" does the same
with nothing shared: dicts of 1,000 records in each process, which fit into a core's own cache. What
it loses is the machine's doing. The floor shares memory without any protocol: what it loses beyond
that is the price of shared cache lines, which no store can avoid. The same is said once more by the
CPU time of each process, which leaves out what other programs took of the cores (and sleep: a
store that waits looks better by it).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from vasmem.bench import machine
from vasmem.bench import workload as workloads
from vasmem.bench.workload import CHUNK, Spread, Workload

from . import harness, paired, stores
from .paired import SPREAD, say

PRIVATE = "private"
STORES = ("vasmem", "vasmem-btree", "floor", "lmdb")
# Of vasmem: at least so many readers' work by two, at most so many percent lost by each beside a
# writer or reader, at least so many writers' work by two.
BARS = (1.8, 15, 15, 1.7)
# How long before its begin a window is announced.
AHEAD_NS = 20_000_000
# A prime.
VALUE_LISTS = 61


class Rate(NamedTuple):
    """Operations per microsecond that passed, and per microsecond that the process had a core."""

    wall: float
    cpu: float


class Role(NamedTuple):
    """What a process does, and on which of the two cores."""

    call: str
    core: int


ROLES = {"reader": Role("get_item", 0), "second reader": Role("get_item", 1)}
ROLES |= {"writer": Role("put", 1), "second writer": Role("put", 0)}
WINDOWS = (
    ("reader",),
    ("second reader",),
    ("reader", "second reader"),
    ("writer",),
    ("reader", "writer"),
    ("second writer",),
    ("writer", "second writer"),
)


def columns_of(role: Role, workload: Workload) -> list[list[list[bytes]]]:
    """For each argument of the call its lists, which take turns.

    Keys are made in the order of their use, so that the caches expect them. The numbers of lists
    share no factor, so that a key gets another value in every pass.
    """
    order = np.random.default_rng(role.core).permutation(workload.records)
    # Private writers share no keys anyhow.
    if role.call == "put" and workload.records > CHUNK:
        order = order[order % 2 == role.core]
    whole = [chunk for chunk in workload.chunks(order) if len(chunk.indices) == CHUNK]
    keys = [workload.keys(chunk.indices) for chunk in whole]
    if role.call != "put":
        return [keys]
    count = VALUE_LISTS if len(keys) % VALUE_LISTS else VALUE_LISTS + 1
    return [keys, [workload.values(number * CHUNK, CHUNK) for number in range(count)]]


def serve(words: argparse.Namespace) -> None:
    """The child process: one window for each line of standard input."""
    role = ROLES[words.role]
    os.sched_setaffinity(0, {words.core})
    if words.store == PRIVATE:
        workload = Workload(CHUNK, words.seed)
        keys = workload.keys(range(CHUNK))
        filled = dict(zip(keys, workload.values(0, CHUNK), strict=True))
        store: workloads.Store = stores.MappingStore(PRIVATE, filled, lambda: None)
    else:
        workload = Workload(words.records, words.seed)
        readonly = role.call != "put"
        directory = Path(words.directory)
        store = stores.attached(words.store, directory, words.creator, readonly=readonly)
    call, columns = getattr(store, role.call), columns_of(role, workload)
    gc.collect()
    gc.disable()
    turn = 0
    print("ready", flush=True)
    for line in sys.stdin:
        begin, end = map(int, line.split())
        while time.monotonic_ns() < begin:
            pass
        first, used = turn, time.process_time_ns()
        while (now := time.monotonic_ns()) < end:
            call(*(lists[turn % len(lists)] for lists in columns))
            turn += 1
        used = time.process_time_ns() - used
        print((turn - first) * CHUNK, now - begin, used, flush=True)
    store.close()


class Worker:
    """A child process that is ready."""

    def __init__(self, store: str, role: str, words: argparse.Namespace, directory: Path) -> None:
        core = sorted(os.sched_getaffinity(0))[ROLES[role].core]
        command = [sys.executable, "-m", "benchmarks.together", "--store", store, "--role", role]
        command += ["--core", str(core), "--creator", str(os.getpid())]
        command += ["--directory", str(directory), "--records", str(words.records)]
        command += ["--seed", str(words.seed)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=harness.HERE.parent,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout
        if self._output.readline() != "ready\n":
            self.end()
            raise SystemExit(f"a {role} of {store} did not start")

    def announce(self, begin_ns: int, end_ns: int) -> None:
        print(begin_ns, end_ns, file=self._input, flush=True)

    def rate(self) -> Rate:
        """What it did in the window that was announced."""
        operations, taken_ns, used_ns = map(int, self._output.readline().split())
        return Rate(operations / taken_ns * 1000, operations / used_ns * 1000)

    def end(self) -> None:
        self._input.close()
        self.process.wait()
        self._output.close()


def window(workers: list[Worker], seconds: float) -> list[Rate]:
    """Lets these processes work at the same time; the rate of each."""
    begin = time.monotonic_ns() + AHEAD_NS
    for worker in workers:
        worker.announce(begin, begin + int(seconds * 1e9))
    return [worker.rate() for worker in workers]


def one_round(
    teams: dict[str, dict[str, Worker]], shuffle: random.Random, seconds: float
) -> dict[str, dict[str, list[Rate]]]:
    """Rates by store and window; a window's name is that of its roles."""
    rates: dict[str, dict[str, list[Rate]]] = {}
    for name in shuffle.sample(list(teams), len(teams)):
        rates[name] = {
            " + ".join(roles): window([teams[name][role] for role in roles], seconds)
            for roles in shuffle.sample(WINDOWS, len(WINDOWS))
        }
    return rates


@contextlib.contextmanager
def started(words: argparse.Namespace, directory: Path) -> Iterator[dict[str, dict[str, Worker]]]:
    """All child processes, by store and role."""
    teams: dict[str, dict[str, Worker]] = {}
    try:
        for store in (*words.stores, PRIVATE):
            team = teams.setdefault(store, {})
            for role in ROLES:
                team[role] = Worker(store, role, words, directory)
        yield teams
    finally:
        for team in teams.values():
            for worker in team.values():
                worker.end()


def run(words: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement, as the result that is written."""
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two processes at a time need two cores")
    parent = Path(words.directory)
    facts = machine.facts(parent)
    shuffle = random.Random(words.seed)
    rounds, others = [], []
    with stores.Stores(words.stores, words.records, parent) as opened:
        for store in opened.open:
            paired.load(store, Workload(words.records, words.seed))
            say(f"loaded {store.name}")
        with started(words, opened.directory) as teams:
            pids = [worker.process.pid for team in teams.values() for worker in team.values()]
            load_of_others = machine.OtherLoad(pids)
            for number in range(words.rounds):
                load_of_others.look()
                rounds.append(one_round(teams, shuffle, words.seconds))
                others.append(load_of_others.look())
                say(f"round {number + 1} of {words.rounds}; others used {others[-1]:.2f} cores")
    return {
        "machine": facts,
        "arguments": vars(words),
        "rounds of operations per us": rounds,
        "cores used by others": others,
    }


def figures(one: dict[str, list[Rate]], clock: int) -> dict[str, float]:
    """What a round says of a store, by one of the clocks of a Rate."""
    rates = {window: [rate[clock] for rate in taken] for window, taken in one.items()}
    (reader,), (second,), (writer,) = rates["reader"], rates["second reader"], rates["writer"]
    (second_writer,), writers = rates["second writer"], rates["writer + second writer"]
    readers = rates["reader + second reader"]
    mixed = rates["reader + writer"]
    return {
        "two readers": readers[0] / reader + readers[1] / second,
        "reader loses %": 100 * (1 - mixed[0] / reader),
        "writer loses %": 100 * (1 - mixed[1] / writer),
        "two writers": writers[0] / writer + writers[1] / second_writer,
    }


def report_clock(
    rounds: list[dict[str, dict[str, list[Rate]]]], clock: int, title: str, console: Console
) -> dict[str, dict[str, Spread]]:
    """Prints the figures by one clock beside their bars; gives them back."""
    summary: dict[str, dict[str, Spread]] = {}
    table = Table(title=f"two processes, two cores, {title}: {SPREAD}")
    columns = ("two readers, in readers", "reader loses, %", "writer loses, %")
    for column in ("store", *columns, "two writers, in writers"):
        table.add_column(column)
    for store in rounds[0]:
        taken = [figures(one[store], clock) for one in rounds]
        spreads = {name: Spread.of([one[name] for one in taken]) for name in taken[0]}
        summary[store] = spreads
        bars = BARS if store.startswith("vasmem") else (None,) * len(BARS)
        verdicts = [
            paired.verdict(spread, bar, least=name.startswith("two"), digits=digits)
            for (name, spread), bar, digits in zip(spreads.items(), bars, (2, 0, 0, 2), strict=True)
        ]
        table.add_row(store, *verdicts)
    console.print(table)
    return summary


def report(result: dict[str, Any], console: Console) -> dict[str, Any]:
    """Prints everything; gives the figures back for the file."""
    rounds = result["rounds of operations per us"]
    alone = Table(title=f"alone, operations per us: {SPREAD}")
    for column in ("store", *ROLES):
        alone.add_column(column)
    for store in rounds[0]:
        rates = [Spread.of([one[store][role][0].wall for one in rounds]).text() for role in ROLES]
        alone.add_row(store, *rates)
    console.print(alone)
    summary = {
        "figures": report_clock(rounds, 0, "by the wall clock", console),
        "figures by CPU time": report_clock(rounds, 1, "by their own CPU time", console),
    }
    console.print(f"{PRIVATE}: nothing is shared; what it loses, the machine takes")
    machine.warn_of_others(result["cores used by others"], console)
    return summary


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.together", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--directory", default="/dev/shm", help="a tmpfs, for the stores' files")
    for option in ("--store", "--role"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    for option in ("--core", "--creator"):
        parser.add_argument(option, type=int, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main() -> None:
    words = parse()
    if words.role:
        serve(words)
        return
    result = run(words)
    result |= report(result, Console(width=140))
    print(harness.write_result("together", result))


if __name__ == "__main__":
    main()
