"""Two results beside each other."""

from __future__ import annotations

from typing import NamedTuple

from vasmem.bench.result import Result

# Medians of two runs that are closer than this differ by chance.
NOISE = 0.15


class Change(NamedTuple):
    """How a figure of the second result stands to the first: `ratio` above 1 is slower.

    `clear` if the rounds of both do not overlap, and the medians differ by more than chance.
    """

    suite: str
    operation: str
    contestant: str
    ratio: float
    clear: bool


def changes(first: Result, second: Result) -> list[Change]:
    """For all figures that both have, the largest change first."""
    before = {(row.suite, row.operation, row.contestant): row for row in first.rows}
    found = []
    for row in second.rows:
        old = before.get((row.suite, row.operation, row.contestant))
        if old is None or not old.spread.median or not row.spread.median:
            continue
        ratio = row.spread.median / old.spread.median
        ratio = 1 / ratio if row.more else ratio
        apart = row.spread.low > old.spread.high or row.spread.high < old.spread.low
        clear = apart and max(ratio, 1 / ratio) > 1 + NOISE
        found.append(Change(row.suite, row.operation, row.contestant, ratio, clear))
    return sorted(found, key=lambda change: -max(change.ratio, 1 / change.ratio))
