"""Results as tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vasmem.bench.machine import OTHERS_MAX
from vasmem.bench.result import Result, Row

# So many operations stand side by side.
COLUMNS_MAX = 8


def figure(value: float) -> str:
    """Three digits are all that a measurement of time has."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def best(rows: dict[str, Row]) -> float:
    """The best median."""
    medians = [row.spread.median for row in rows.values()]
    return max(medians) if next(iter(rows.values())).more else min(medians)


def show(result: Result, suite: str, console: Console) -> None:
    """Medians of the rounds, the best of each column in bold; contestants are the lines."""
    operations = result.operations(suite)
    for at in range(0, len(operations), COLUMNS_MAX):
        part = operations[at : at + COLUMNS_MAX]
        columns = {operation: result.of(suite, operation) for operation in part}
        names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
        units = {row.unit for rows in columns.values() for row in rows.values()}
        unit = f", {units.pop()}" if len(units) == 1 else ""
        table = Table(title=f"{suite}{unit}, median of rounds", title_justify="left")
        table.add_column("")
        for operation in part:
            table.add_column(operation, justify="right")
        for name in names:
            cells = []
            for rows in columns.values():
                row = rows.get(name)
                median = row.spread.median if row else 0.0
                style = "bold" if row and median == best(rows) else ""
                cells.append(Text(figure(median) if row else "", style=style))
            table.add_row(Text(name), *cells)
        console.print(table)


def show_all(result: Result, console: Console) -> None:
    """All suites, who was missing, and what disturbed them."""
    for suite in result.suites:
        show(result, suite, console)
        others = result.suites[suite].get("others", 0.0)
        if others > OTHERS_MAX:
            console.print(
                f"[red]{suite}: other programs used up to {others:.2f} cores: do not trust it"
            )
    for name, reason in result.missing.items():
        console.print(f"missing: {name} ({reason})", markup=False)
