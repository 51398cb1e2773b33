"""Runs in the guest: writers that acknowledge each operation over the second serial line.

`python writer.py URL`. It ends when the power does.
"""

import os
import sys
import tty

from guest.workload import ROWS, WRITERS, State, steps

import vasmem


def structures(segment: vasmem.Segment) -> State:
    totals = segment.array("totals", shape=(WRITERS * ROWS,), dtype="i8")
    return State(segment.hashmap("users"), segment.btree("index"), totals)


def write(url: str, writer: int) -> None:
    line = os.open("/dev/ttyS1", os.O_WRONLY | os.O_NOCTTY)
    tty.setraw(line)
    with vasmem.attach(url) as segment:
        state = structures(segment)
        for step in steps(writer):
            with segment.transaction():
                step(state)
            os.write(line, b"%d\n" % writer)


def main(url: str) -> None:
    with vasmem.create(url, size="1M", max_size="128M") as segment:
        structures(segment)
    children = []
    for writer in range(WRITERS):
        if child := os.fork():
            children.append(child)
        else:
            write(url, writer)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
