"""A writer that knows only names: of the segment, and of structures. Reads `seed count` lines, runs
the operations of each, and writes one byte to stdout after each operation: what is acknowledged
must stay."""

import os
import sys

from workload import Operation, operations, places

import vasmem


def run(segment: vasmem.Segment, operation: Operation) -> None:
    if len(operation.names) > 1:
        with segment.transaction():
            change(operation)
    else:
        change(operation)


def change(operation: Operation) -> None:
    for name in operation.names:
        if operation.value is not None:
            found[name].put(operation.key, operation.value)
        else:
            found[name].delete(operation.key)


with vasmem.attach(sys.argv[1]) as segment:
    names = tuple(sys.argv[3:])
    found = places(segment, names)
    writer = int(sys.argv[2])
    os.write(1, b"+")
    for line in sys.stdin:
        seed, count = map(int, line.split())
        for operation in operations(seed, writer, count, names):
            run(segment, operation)
            os.write(1, b".")
