"""Redis and Valkey: real servers over their Unix sockets, started and stopped here."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vasmem.bench.contestants.base import Calls, Contestant, Site, needs

START_SECONDS_MAX = 10


class ServerStore(Calls):
    """A client; and the server, if it was started for this store."""

    def __init__(self, name: str, directory: Path, *arguments: str, start: bool) -> None:
        import redis

        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        socket = directory / f"{name}.sock"
        if start:
            self.process = subprocess.Popen(
                [
                    f"{name.partition('-')[0]}-server",
                    *("--port", "0", "--unixsocket", str(socket), "--dir", str(directory)),
                    *("--save", "", "--daemonize", "no", *arguments),
                ],
                stdout=subprocess.DEVNULL,
            )
            self.servers = (self.process.pid,)
        self.client: Any = redis.Redis(unix_socket_path=str(socket), protocol=3)
        self.wait()
        self.get_one = self.client.get
        self.put_one = self.client.set
        self.delete_one = self.client.delete
        self.get_batch = self.client.mget

    def wait(self) -> None:
        """Until the server answers."""
        import redis

        end = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.client.ping()
                return
            except redis.exceptions.RedisError:
                if time.monotonic() > end:
                    self.close()
                    raise
                time.sleep(0.01)

    def put_batch(self, keys: list[bytes], values: list[bytes]) -> None:
        self.client.mset(dict(zip(keys, values, strict=True)))

    commit_durably = put_batch

    def bulk_delete(self, keys: Sequence[bytes]) -> None:
        self.client.delete(*keys)

    def count(self) -> int:
        return int(self.client.dbsize())

    def close(self) -> None:
        self.client.close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def missing(name: str) -> str | None:
    server = f"{name}-server"
    absent = None if shutil.which(server) else f"apt install {server}"
    return needs("redis")() or absent


def server(name: str) -> Contestant:
    def attach(site: Site) -> ServerStore:
        return ServerStore(name, site.directory, start=False)

    return Contestant(
        name,
        f"{name}-server over a Unix socket, nothing saved; redis-py, RESP3, mget, mset",
        "kill -9 of clients",
        lambda site: ServerStore(name, site.directory, start=True),
        attach,
        missing=lambda: missing(name),
    )


def durable_server(name: str) -> Contestant:
    always = ("--appendonly", "yes", "--appendfsync", "always")
    return Contestant(
        f"{name}-aof",
        "appendonly, appendfsync always, mset",
        "power",
        lambda site: ServerStore(f"{name}-aof", site.directory, *always, start=True),
        missing=lambda: missing(name),
    )


SERVERS = [server("redis"), server("valkey")]
SERVERS_DURABLE = [durable_server("redis"), durable_server("valkey")]
