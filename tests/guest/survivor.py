"""Runs in the guest after it was booted again: everything acknowledged must be there.

`python survivor.py URL ACKNOWLEDGED`, the second being a file with a line for each acknowledgement.
"""

import sys
from collections import Counter
from pathlib import Path
from time import perf_counter

from guest.workload import WRITERS, expected, part
from guest.writer import structures

import vasmem


def main(url: str, acknowledged: str) -> None:
    try:
        vasmem.attach(url, readonly=True)
    except vasmem.NeedsRecovery as error:
        print(f"a reader is told: {error}")
    else:
        raise AssertionError("a reader saw what the power failure left")
    # A last line may have been cut.
    lines = Path(acknowledged).read_text().split("\n")[:-1]
    done = Counter(map(int, lines))
    assert len(done) == WRITERS, done
    start = perf_counter()
    with vasmem.attach(url) as segment:
        print(f"recovered in {(perf_counter() - start) * 1e3:.1f} ms; {segment.promises}")
        assert segment.check() == []
        state = structures(segment)
        for writer in range(WRITERS):
            found = part(state, writer)
            allowed = expected(writer, done[writer])
            assert found in allowed, f"writer {writer} after {done[writer]} operations"
        print(f"{len(lines)} acknowledged operations are there")
        state.users["after"] = 1
        assert segment.check() == []


if __name__ == "__main__":
    main(*sys.argv[1:])
