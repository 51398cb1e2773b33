"""What operations have to wait for: other processes that hold something, and are stopped."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import vasmem

TOKEN = """
import sys, vasmem
segment = vasmem.attach(sys.argv[1])
with segment.transaction():
    segment["users"]["holder"] = 1
    print("held", flush=True)
    sys.stdin.read()
"""

# As many attachments as it takes, each with the one lane of a writer.
LANES = """
import sys, vasmem
segments = [vasmem.attach(sys.argv[1]) for _ in range(1023)]
for segment in segments:
    segment.timeout = 0
    try:
        segment.hashmap("users")["holder"] = 1
    except vasmem.LockTimeout:
        break
print("held", flush=True)
sys.stdin.read()
"""

# What a process does that grows the segment, or recovers it, for a moment.
BYTE = """
import fcntl, os, struct, sys
lock = os.open(sys.argv[1], os.O_RDWR)
request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, int(sys.argv[2]), 1, 0)
fcntl.fcntl(lock, 37, request)
print("held", flush=True)
sys.stdin.read()
"""

COMMITS = """
import sys, vasmem
blobs = vasmem.attach(sys.argv[1])["blobs"]
values = bytes(8 << 20), bytes(9 << 20)
print("held", flush=True)
while True:
    for value in values:
        blobs[b"large"] = value
"""

GROWTH, ATTACHED = 2048, 2049


@contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has begun to hold something; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@contextmanager
def stopped(program: str, *arguments: object) -> Iterator[int]:
    with running(program, *arguments) as process:
        process.send_signal(signal.SIGSTOP)
        yield process.pid


@contextmanager
def token_held(segment: vasmem.Segment) -> Iterator[int]:
    """Another process is inside a transaction, and stopped."""
    segment.hashmap("users")
    with stopped(TOKEN, segment.url) as pid:
        yield pid


@contextmanager
def lanes_taken(segment: vasmem.Segment) -> Iterator[int]:
    """All lanes are those of another process, but the one of `segment` itself."""
    with stopped(LANES, segment.url) as pid:
        yield pid


@contextmanager
def byte_locked(segment: vasmem.Segment, home: Path, byte: int) -> Iterator[int]:
    """Another process has locked that byte of the lock file, and is stopped."""
    name = segment.url.rpartition("/")[2]
    (lock,) = home.glob(f".{name}.*.vasmem.lock")
    with stopped(BYTE, lock, byte) as pid:
        yield pid


@contextmanager
def committing(segment: vasmem.Segment) -> Iterator[subprocess.Popen[bytes]]:
    """Another process is stopped in the middle of a commit, with its locks."""
    blobs = segment.hashmap("blobs", raw=True)
    blobs[b"large"] = bytes(8 << 20)
    chance = random.Random(1)
    before = segment.timeout
    with running(COMMITS, segment.url) as process:
        while True:
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGSTOP)
            try:
                segment.timeout = 0.05
                blobs[b"large"] = bytes(8 << 20)
            except vasmem.LockTimeout as error:
                if "a commit of" in str(error):  # and not that it grows the segment
                    break
            finally:
                segment.timeout = before
            process.send_signal(signal.SIGCONT)
        yield process
