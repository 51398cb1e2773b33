"""Processes that share nothing but a name, all writing to one map at the same time."""

import os
import subprocess
import sys

import vasmem

NAME = f"example-{os.getpid()}"
PROGRAM = """
import sys, vasmem
name, me = sys.argv[1:]
with vasmem.attach(name) as segment:
    work = segment["work"]
    for number in range(1000):
        work[me, number] = {"by": me, "square": number * number}
"""

with vasmem.create(NAME) as segment:
    try:
        work = segment.hashmap("work")
        processes = [
            subprocess.Popen([sys.executable, "-c", PROGRAM, NAME, me]) for me in ("ada", "bob")
        ]
        assert [process.wait() for process in processes] == [0, 0]
        print(len(work), "items,", work["bob", 12])
        assert len(work) == 2000
        assert segment.check() == []
    finally:
        vasmem.remove(NAME)
