"""A time-ordered index: the files of Python's own library by when they were changed."""

import os
import sysconfig
import time
from pathlib import Path

import vasmem

NAME = f"example-{os.getpid()}"
LIBRARY = Path(sysconfig.get_path("stdlib"))


def modules() -> list[tuple[int, str, int]]:
    """Time of the last change in nanoseconds, path and size of each module."""
    found = []
    for path in LIBRARY.glob("*.py"):
        status = path.stat()
        found.append((status.st_mtime_ns, path.name, status.st_size))
    return found


with vasmem.create(NAME) as segment:
    try:
        sizes = segment.hashmap("sizes")
        by_time = segment.btree("by time")
        with segment.transaction():  # a file is in both, or in neither
            for changed, name, size in modules():
                sizes[name] = size
                by_time[changed, name] = size

        oldest, newest = by_time.peekitem(0), by_time.peekitem()
        print(len(by_time), "files, the first is", oldest[0][1], "and the last", newest[0][1])

        # Tuples sort item by item, so an hour is a range of them.
        end = newest[0][0]
        hour = list(by_time.irange((end - 3600 * 10**9,), (end + 1,)))
        print(len(hour), "of them changed within the hour that ended", time.ctime(end / 1e9))
        assert hour[-1] == newest[0]

        # The same moment is a prefix.
        assert newest[0] in list(by_time.prefix((end,)))

        # Where one was reading others may write: a cursor goes on from its key.
        cursor = by_time.cursor()
        cursor.seek((oldest[0][0],))
        del by_time[oldest[0]]
        assert cursor.next() == by_time.peekitem(0)

        assert by_time.keys()[-3:] == list(by_time.islice(len(by_time) - 3))
        assert segment.check() == []
    finally:
        vasmem.remove(NAME)
