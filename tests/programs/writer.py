"""A writer that knows only the segment's name. Reads `seed count` lines, runs the operations of
each, and writes one byte to stdout after each operation: what is acknowledged must stay."""

import os
import sys

from workload import MAPS, Operation, operations, structure

import vasmem


def run(segment: vasmem.Segment, operation: Operation) -> None:
    if len(operation.maps) > 1:
        with segment.transaction():
            change(operation)
    else:
        change(operation)


def change(operation: Operation) -> None:
    for name in operation.maps:
        if operation.value is not None:
            maps[name][operation.key] = operation.value
        else:
            maps[name].pop(operation.key, None)


with vasmem.attach(sys.argv[1]) as segment:
    maps = {name: structure(segment, name) for name in MAPS}
    writer = int(sys.argv[2])
    os.write(1, b"+")
    for line in sys.stdin:
        seed, count = map(int, line.split())
        for operation in operations(seed, writer, count):
            run(segment, operation)
            os.write(1, b".")
