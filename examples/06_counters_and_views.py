"""Changes that look first, many keys at once, and a value without a copy."""

import os

import numpy as np

import vasmem

NAME = f"example-{os.getpid()}"

with vasmem.create(NAME) as segment:
    try:
        counts = segment.hashmap("counts")
        counts.incr("visits")  # one step for all processes, as are the next four
        counts.incr("seconds", 0.25)
        print("first:", counts.add("leader", "ada"), counts.add("leader", "bob"))
        assert counts.compare_and_set("leader", "ada", "bob")
        print("names:", counts.modify("names", lambda names: [*names, "ada"], []))

        squares = segment.hashmap("squares")
        numbers = np.arange(10_000)
        squares.put_many(numbers, numbers**2)  # a commit a key, without the GIL
        print("squares:", squares.get_many([3, 4, -1], default="none"))

        frames = segment.hashmap("frames", raw=True)
        frames[b"one"] = np.arange(1_000_000, dtype="f4").tobytes()
        frame = np.frombuffer(frames.view(b"one"), "f4")  # bytes of the segment itself
        frames[b"one"] = b"another"  # what is viewed stays as it was
        print("frame:", frame.shape, frame[-1])
    finally:
        vasmem.remove(NAME)
