"""Writes golden.bz2, a segment of the present format, compressed; run it when a format is added."""

import bz2
import os
import tempfile
from pathlib import Path

import numpy as np

import vasmem

# Where the header names the boot of the last writer; none is named, so that any boot is another.
BOOT = slice(384, 400)

CONTENT = {
    "users": {"ada": {"balance": 10}, ("bob", 1): [1.5, None, True], b"raw": "x" * 5000},
    "numbers": {number: str(number) * 3 for number in range(300)},
}


def write(path: Path) -> None:
    """Make the segment in a directory of its own and keep its bytes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        os.environ["VASMEM_SHM_DIR"] = directory
        with vasmem.create("golden", max_size="64M") as segment:
            for name, content in CONTENT.items():
                segment.hashmap(name).update(content)
            segment.hashmap("raw", raw=True)[b"k"] = np.arange(4, dtype="<u4").tobytes()
            for number in range(100):  # freed blocks, and a lane that was used
                del segment["numbers"][number]
        content = bytearray(Path(directory, "golden").read_bytes())
        content[BOOT] = bytes(16)
        path.write_bytes(bz2.compress(content))


if __name__ == "__main__":
    write(Path(__file__).with_name("golden.bz2"))
