"""A raw map takes bytes to bytes and encodes nothing: the fastest kind, with your own encoding."""

import hashlib
import os

import vasmem

NAME = f"example-{os.getpid()}"

with vasmem.create(NAME) as segment:
    try:
        blobs = segment.hashmap("blobs", raw=True)
        for text in ("a", "b", "a"):
            content = text.encode() * 100_000  # a large value gets a block of its own
            blobs[hashlib.sha256(content).digest()] = content
        print(len(blobs), "blobs,", f"{segment.used / 1024:.0f} KiB in use")
        assert len(blobs) == 2

        try:
            blobs["text"] = "text"  # type: ignore[index, assignment]
        except vasmem.WrongType as error:
            print("refused:", error)
    finally:
        vasmem.remove(NAME)
