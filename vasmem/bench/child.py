"""The processes that suites start: `python -m vasmem.bench.child ROLE CONTESTANT DIRECTORY ...`.

They say on stdout what they did, in JSON, a line each; what they wait for comes by stdin.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vasmem.bench import zipfian
from vasmem.bench.contestants import CONTESTANTS, Site
from vasmem.bench.workload import VALUE_BYTES, Workload

# Of so many operations the time of one is taken, since taking it costs some, too.
TIMED_ONE_IN = 8
STREAM = 20_000


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def attach(name: str, site: Site) -> None:
    """Times the first value that a process gets of a store, and again in the same process."""
    key = Workload(site.records, seed=1).keys([site.records // 2])[0]
    taken = []
    for _ in range(2):
        start = time.perf_counter_ns()
        opener = CONTESTANTS[name].attach
        assert opener is not None
        store = opener(site)
        value = store.read(key)
        taken.append((time.perf_counter_ns() - start) / 1e3)
        assert value is not None, name
        store.close()
    say(taken)


def contend(name: str, site: Site, number: str, seconds: str) -> None:
    """Reads and updates by turns of chance, keys zipfian, from the instant that it is told.

    Writes how long single operations took to a file; says how many there were.
    """
    os.sched_setaffinity(0, {int(number) % (os.cpu_count() or 1)})
    opener = CONTESTANTS[name].attach
    assert opener is not None
    store: Any = opener(site)
    workload = Workload(site.records, seed=1)
    random = np.random.default_rng(int(number))
    keys = workload.keys(zipfian.draw(random, site.records, STREAM).tolist())
    writes = (random.random(STREAM) < 0.5).tolist()
    values = workload.values(int(number), STREAM)
    stream = list(zip(keys, values, writes, strict=True))
    say("ready")
    begin = int(sys.stdin.readline())
    end = begin + int(float(seconds) * 1e9)
    get, put, clock = store.get_one, store.put_one, time.monotonic_ns
    while clock() < begin:
        pass
    done = 0
    took: list[int] = []
    while True:
        for at in range(0, STREAM, TIMED_ONE_IN):
            start = clock()
            if took and start >= end:
                np.save(site.directory / f"took-{name}-{number}", np.array(took, np.uint32))
                say(done)
                return
            key, value, write = stream[at]
            if write:
                put(key, value)
            else:
                get(key)
            took.append(clock() - start)
            for key, value, write in stream[at + 1 : at + TIMED_ONE_IN]:
                if write:
                    put(key, value)
                else:
                    get(key)
            done += TIMED_ONE_IN


def write(name: str, site: Site) -> None:
    """Puts for ever; for being killed."""
    opener = CONTESTANTS[name].attach
    assert opener is not None
    store = opener(site)
    workload = Workload(site.records, seed=1)
    keys = workload.keys(range(site.records))
    say("ready")
    while True:
        for at in range(0, len(keys) - 1000, 1000):
            store.put(keys[at : at + 1000], workload.values(at % 1000, 1000))


def survive(name: str, site: Site) -> None:
    """Once told, attaches, reads, writes; us until it had read, and written."""
    key = Workload(site.records, seed=1).keys([site.records // 2])[0]
    opener = CONTESTANTS[name].attach
    assert opener is not None
    say("ready")
    sys.stdin.readline()
    start = time.perf_counter_ns()
    store = opener(site)
    value = store.read(key)
    read = time.perf_counter_ns()
    store.put([key], [bytes(VALUE_BYTES)])
    written = time.perf_counter_ns()
    assert value is not None, "a kill took a record away"
    assert len(value) == VALUE_BYTES, "a kill left a torn value"
    say([(read - start) / 1e3, (written - start) / 1e3])


ROLES: dict[str, Any] = {"survive": survive, "attach": attach, "contend": contend, "write": write}


def main() -> None:
    role, name, directory, records, *rest = sys.argv[1:]
    ROLES[role](name, Site(Path(directory), int(records)), *rest)


if __name__ == "__main__":
    main()
