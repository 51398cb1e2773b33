"""Whether a reader ever waits: `get` while a writer is absent, runs, is stopped, is killed.

A writer process is stopped (SIGSTOP) at random instants of its commits; each time every record is
read, and then written with a short timeout, which tells whether the stopped writer held locks.
A reader that waited for it would not come back before it goes on.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from time import perf_counter_ns
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import workload as workloads
from vasmem.bench.workload import Workload

from . import harness

RECORDS = 500
# Seconds after which the probing writer gives up on a lock.
PROBE_TIMEOUT = 0.002


def write_forever(name: str) -> None:
    """The writer process."""
    mapping = vasmem.attach(name).hashmap("bench", raw=True)
    keys = list(mapping)
    print("writing", flush=True)
    turn = 0
    while True:
        turn += 1
        value = turn.to_bytes(8, "little") * 12 + b"even"
        for key in keys:
            mapping[key] = value


class Writer:
    """A writer process that is past its start."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.readers", "--write", name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=harness.HERE.parent)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"writing\n":
            raise SystemExit("the writer did not start")

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def read_all(mapping: Any, keys: list[bytes]) -> list[int]:
    """ns of each get; every value must be there, whole."""
    taken = []
    for key in keys:
        start = perf_counter_ns()
        value = mapping[key]
        taken.append(perf_counter_ns() - start)
        if len(value) != workloads.VALUE_BYTES:
            raise SystemExit(f"a value of {len(value)} bytes was read")
    return taken


def locked_records(segment: Any, mapping: Any, keys: list[bytes]) -> int:
    """How many records cannot be written now."""
    lock_timeout = vasmem.LockTimeout
    locked = 0
    usual, segment.timeout = segment.timeout, PROBE_TIMEOUT
    for key in keys:
        try:
            mapping[key] = bytes(workloads.VALUE_BYTES)
        except lock_timeout:
            locked += 1
    segment.timeout = usual
    return locked


def measure(stops: int, kills: int) -> dict[str, Any]:
    name = f"benchmark-{os.getpid()}"
    chance = random.Random(3)
    keys = Workload(RECORDS, seed=3).keys(range(RECORDS))
    phases: dict[str, list[int]] = {}
    holding = 0

    def pause() -> None:
        time.sleep(chance.uniform(0.001, 0.005))

    with vasmem.create(name, size="1M", max_size="64M") as segment:
        mapping = segment.hashmap("bench", raw=True)
        for key in keys:
            mapping[key] = bytes(workloads.VALUE_BYTES)
        with vasmem.attach(name, readonly=True) as read_only:
            reader = read_only.hashmap("bench", raw=True)

            def look(phase: str, times: int = 1) -> None:
                for _ in range(times):
                    phases.setdefault(phase, []).extend(read_all(reader, keys))

            look("no writer", stops)
            writer = Writer(name)
            look("writer runs", stops)
            for _ in range(stops):
                pause()
                writer.stop()
                look("writer stopped")
                holding += locked_records(segment, mapping, keys) > 0
                writer.go_on()
            writer.kill()
            for _ in range(kills):
                writer = Writer(name)
                pause()
                writer.kill()
                look("writer killed")
        violations = segment.check()
    vasmem.remove(name)
    if violations:
        raise SystemExit(f"check found {violations}")
    return {"stops": stops, "stops with locks held": holding, "kills": kills, "get ns": phases}


def summary(taken: list[int]) -> dict[str, int]:
    ordered = sorted(taken)
    parts = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    places = {name: ordered[int(part * (len(ordered) - 1))] for name, part in parts.items()}
    return {"reads": len(ordered), **places}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.readers", description=__doc__)
    parser.add_argument("--write", metavar="SEGMENT", help=argparse.SUPPRESS)
    parser.add_argument("--stops", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.write:
        write_forever(arguments.write)
    result = measure(arguments.stops, arguments.kills)
    result["get ns"] = {phase: summary(taken) for phase, taken in result["get ns"].items()}
    table = Table(title="get, ns, by what the writer does")
    for column in ("writer", "reads", "p50", "p99", "p99.9", "max"):
        table.add_column(column, justify="right")
    for phase, figures in result["get ns"].items():
        table.add_row(phase, *(str(figure) for figure in figures.values()))
    console = Console(width=120)
    console.print(table)
    console.print(f"{result['stops with locks held']} of {result['stops']} stops held locks")
    if not result["stops with locks held"]:
        raise SystemExit("no stop met a held lock: the figures show nothing")
    print(harness.write_result("readers", result))


if __name__ == "__main__":
    main()
