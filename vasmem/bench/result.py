"""What a run found, as data: rows of figures, the machine, and how the contestants were set up."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vasmem.bench.workload import Spread

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """The figures of one operation of one contestant, one of each round. `unit` says of what.

    Less is better unless `more`. `records` is how many the store held.
    """

    suite: str
    operation: str
    contestant: str
    unit: str
    figures: list[float]
    records: int = 0
    more: bool = False

    @property
    def spread(self) -> Spread:
        """Median, lowest and highest."""
        return Spread.of(self.figures)


@dataclass
class Result:
    """All of a run."""

    machine: dict[str, Any]
    options: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    # By contestant: its settings, and what it survives.
    contestants: dict[str, dict[str, str]] = field(default_factory=dict)
    # By contestant: why it did not take part.
    missing: dict[str, str] = field(default_factory=dict)
    # By suite: rounds that were taken again since other programs disturbed them, the cores that
    # these used in the rounds that count, and how long all of it took.
    suites: dict[str, dict[str, float]] = field(default_factory=dict)
    format: int = FORMAT

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def save_csv(self, path: Path) -> None:
        """A line for each figure."""
        with path.open("w", newline="") as file:
            lines = csv.writer(file)
            names = ("suite", "operation", "contestant", "records", "unit", "round", "figure")
            lines.writerow(names)
            for row in self.rows:
                start = (row.suite, row.operation, row.contestant, row.records, row.unit)
                lines.writerows((*start, n, figure) for n, figure in enumerate(row.figures))

    def operations(self, suite: str) -> list[str]:
        """In the order of the suite."""
        return list(dict.fromkeys(row.operation for row in self.rows if row.suite == suite))

    def of(self, suite: str, operation: str) -> dict[str, Row]:
        """Rows by contestant."""
        return {
            row.contestant: row
            for row in self.rows
            if row.suite == suite and row.operation == operation
        }


def load(path: Path) -> Result:
    """Read what `save` wrote. Raises ValueError for anything else, naming the file."""
    try:
        fields = json.loads(path.read_text())
        if fields["format"] != FORMAT:
            raise ValueError(f"it has format {fields['format']}, this version reads {FORMAT}")
        rows = [Row(**row) for row in fields.pop("rows")]
        return Result(rows=rows, **fields)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is no result of `vasmem bench`: {error}") from error


def rows(
    suite: str,
    unit: str,
    taken: dict[str, dict[str, list[float]]],
    records: dict[str, int] | None = None,
    *,
    more: bool = False,
) -> Iterable[Row]:
    """Rows of figures by operation and contestant."""
    for operation, by_contestant in taken.items():
        for name, figures in by_contestant.items():
            yield Row(suite, operation, name, unit, figures, (records or {}).get(name, 0), more)
