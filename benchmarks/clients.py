"""A store whose clients switch in and run the command themselves, beside a real Redis.

`python -m benchmarks.clients`: GET and SET of 4-byte values under 10,000 keys by 1 to 12 client
processes with several shares of reads; Redis over its Unix socket, through redis-py, one command at
a time, without persistence. `redis-benchmark` with one client shows what no Python takes from it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import vasmem
from vasmem.bench import machine

from . import harness

KEYS = 10_000
CLIENTS = (1, 2, 4, 8, 12)
READ_SHARES = (1.0, 0.9, 0.5)
BATCH = 500
# Beside redis-py with 1 and with 4 clients, and beside redis-benchmark with 1.
BARS = {"redis-py, 1": 20.0, "redis-py, 4": 15.0, "redis-benchmark, 1": 8.0}
Command = Callable[[bytes, bool], object]


def keys() -> list[bytes]:
    return [b"key:%08d" % number for number in range(KEYS)]


@contextmanager
def redis_server() -> Iterator[str]:
    """A server on a socket of its own; the path of the socket."""
    with tempfile.TemporaryDirectory(prefix="vasmem-redis-") as directory:
        socket = f"{directory}/socket"
        quiet = ("--save", "", "--appendonly", "no", "--port", "0", "--loglevel", "warning")
        command = ["redis-server", *quiet, "--unixsocket", socket, "--dir", directory]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not Path(socket).exists():
            if server.poll() is not None:
                raise SystemExit("redis-server ended: install it (apt-get install redis-server)")
            time.sleep(0.01)
        try:
            yield socket
        finally:
            server.terminate()
            server.wait()


@contextmanager
def of_redis(socket: str) -> Iterator[Command]:
    import redis

    client = redis.Redis(unix_socket_path=socket)
    yield lambda key, reads: client.get(key) if reads else client.set(key, b"abcd")
    client.close()


@contextmanager
def of_vas(name: str) -> Iterator[Command]:
    """Switched in once, for all commands."""
    with vasmem.Vas.attach(name) as vas, vas.switch() as space:
        table = space[name].hashmap("table", raw=True)
        yield lambda key, reads: table.get(key) if reads else table.__setitem__(key, b"abcd")


@contextmanager
def of_switches(name: str) -> Iterator[Command]:
    """Switched in for every command."""
    with vasmem.Vas.attach(name) as vas:
        with vas.switch() as space:
            table = space[name].hashmap("table", raw=True)

        def command(key: bytes, reads: bool) -> object:
            with vas.switch():
                return table.get(key) if reads else table.__setitem__(key, b"abcd")

        yield command


STORES = {"redis-py": of_redis, "vasmem": of_vas, "vasmem, a switch a command": of_switches}


def client(store: str, where: str, share: float, seconds: float, ready: Any, told: Any) -> None:
    chance = random.Random()
    known = keys()
    with STORES[store](where) as command:
        ready.wait()
        start = time.perf_counter()
        done = 0
        while time.perf_counter() - start < seconds:
            chosen = chance.choices(known, k=BATCH)
            for key in chosen:
                command(key, chance.random() < share)
            done += BATCH
        told.put(done / (time.perf_counter() - start))


def rate(store: str, where: str, clients: int, share: float, seconds: float) -> float:
    """Commands a second of all clients together."""
    start = multiprocessing.get_context("spawn")
    ready, told = start.Barrier(clients), start.Queue()
    arguments = (store, where, share, seconds, ready, told)
    running = [start.Process(target=client, args=arguments) for _ in range(clients)]
    for process in running:
        process.start()
    total = sum(told.get() for _ in running)
    for process in running:
        process.join()
    return total


def benchmark_rate(socket: str) -> float:
    """GETs a second of redis-benchmark with one client."""
    program = shutil.which("redis-benchmark") or "redis-benchmark"
    command = [program, "-s", socket, "-c", "1", "-n", "100000", "-t", "get", "-q"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"GET: ([\d.]+) requests", text)[-1])


def run(seconds: float, clients: list[int]) -> dict[str, Any]:
    name = f"clients-{time.time_ns()}"
    figures: dict[str, dict[str, float]] = {store: {} for store in STORES}
    with redis_server() as socket, vasmem.create(name, max_size="1G") as segment:
        try:
            with vasmem.Vas.create(name) as vas:
                vas.add(name)
            with of_redis(socket) as command:
                for key in keys():
                    command(key, False)
            table = segment.hashmap("table", raw=True)
            table.put_many(keys(), [b"abcd"] * KEYS)
            alone = benchmark_rate(socket)
            for count in clients:
                for share in READ_SHARES:
                    for store in STORES:
                        where = socket if store == "redis-py" else name
                        found = rate(store, where, count, share, seconds)
                        figures[store][f"{count} {share}"] = found
        finally:
            vasmem.Vas.remove(name)
            vasmem.remove(name)
    facts = machine.facts(harness.SEGMENTS)
    return {"machine": facts, "redis-benchmark": alone, "clients": clients, "rates": figures}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.clients", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each figure")
    parser.add_argument("--clients", type=int, nargs="*", default=list(CLIENTS))
    arguments = parser.parse_args()
    result = run(arguments.seconds, arguments.clients)
    table = Table(title="thousand commands a second, all clients together; times redis-py")
    for column in ("clients", "reads", *STORES):
        table.add_column(column, justify="right")
    rates = result["rates"]
    for row, base in rates["redis-py"].items():
        count, share = row.split()
        cells = [f"{of[row] / 1e3:,.1f} ({of[row] / base:.1f}x)" for of in rates.values()]
        table.add_row(count, f"{float(share):.0%}", *cells)
    Console(width=110).print(table)
    alone = result["redis-benchmark"]
    times = rates["vasmem"].get("1 1.0", 0.0) / alone
    print(f"redis-benchmark, 1 client: {alone:,.0f} GETs a second; vasmem {times:.1f}x")
    print(f"goals: {', '.join(f'{goal:g}x {of}' for of, goal in BARS.items())}")
    print(harness.write_result("clients", result))


if __name__ == "__main__":
    main()
