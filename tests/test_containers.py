"""What containers change: a small tmpfs, and process numbers that mean nothing to each other."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import vasmem

Make = Callable[..., vasmem.Segment]

MOUNTS = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
PROCESSES = ["unshare", "-pf"] if os.geteuid() == 0 else ["unshare", "-Urpf"]

# The /dev/shm of a container has 64 MB unless it is told otherwise.
SMALL = """
import os, subprocess, sys
import vasmem

where = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "none", where], check=True)
os.environ["VASMEM_SHM_DIR"] = where
with vasmem.create("full", max_size="8G") as segment:
    blobs = segment.hashmap("blobs", raw=True)
    stored = 0
    try:
        while True:
            blobs[b"%d" % stored] = b"x" * 5_000
            stored += 1
    except vasmem.SegmentFull as error:
        print(error)
    assert stored > 8_000, stored
    assert len(blobs) == stored
    assert segment.check() == []
    assert all(blobs[b"%d" % number] == b"x" * 5_000 for number in range(0, stored, 100))
    del blobs[b"0"]
    blobs[b"again"] = b"y" * 5_000
    assert segment.check() == []
try:
    vasmem.create("large", size="128M")
except vasmem.SegmentFull as error:
    print(error)
assert [found.name for found in vasmem.segments()] == ["full"]
"""


def test_a_full_tmpfs_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    command = [*MOUNTS, sys.executable, "-c", SMALL, str(tmp_path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    full, large = run.stdout.splitlines()
    assert "is full" in full
    assert "free some" in full
    assert "nothing was changed" in full
    assert 'no room for the segment "large" of 134225920 bytes' in large


# The first process of a namespace of its own: number 1 there, as in every container.
INSIDE = """
import os, sys
import vasmem

assert os.getpid() == 1
segment = vasmem.attach(sys.argv[1])
counts = segment.hashmap("counts")
print("ready", flush=True)
while True:
    with segment.transaction():
        for key in range(50):
            counts[key] = counts[key] + 1
"""


def test_process_numbers_do_not_matter(make: Make) -> None:
    segment = make()
    counts = segment.hashmap("counts")
    counts.update(dict.fromkeys(range(50), 0))
    command = [*PROCESSES, "--kill-child", sys.executable, "-c", INSIDE, segment.url]
    for _ in range(3):
        children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        for _ in range(20):
            with segment.transaction():
                values = set(counts.values())
                assert len(values) == 1, "a transaction of another container was seen in part"
                counts.update({key: values.copy().pop() + 1 for key in range(50)})
        # One of the two dies, whatever it is doing; the others go on.
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        before = counts[0]
        while counts[0] < before + 5:  # the other one goes on
            pass
        children[1].send_signal(signal.SIGKILL)
        for child in children:
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        with segment.transaction():
            assert len(set(counts.values())) == 1
    assert segment.check() == []
