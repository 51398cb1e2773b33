"""Results as pictures: one of each suite, a panel for each operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vasmem.bench.result import Result, Row
from vasmem.bench.tables import figure

OURS, BOUND, OTHERS = "#2a6f97", "#bdbdbd", "#c9a227"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "0.92",
    "ytick.left": False,
}
PANELS_ACROSS = 3


def colour(name: str) -> str:
    if name.startswith("vasmem"):
        return OURS
    return BOUND if name.startswith(("floor", "dict", "numpy", "pwrite")) else OTHERS


def panel(axes: Axes, operation: str, rows: list[Row]) -> None:
    """Lying bars, the best on top; thin lines from the lowest to the highest round."""
    more = rows[0].more
    rows = sorted(rows, key=lambda row: row.spread.median, reverse=more)
    places = range(len(rows))
    medians = [row.spread.median for row in rows]
    axes.barh(places, medians, height=0.7, color=[colour(row.contestant) for row in rows])
    for place, row in zip(places, rows, strict=True):
        axes.plot([row.spread.low, row.spread.high], [place, place], color="0.3", linewidth=1)
        text = axes.get_yaxis_transform()
        axes.text(1, place, figure(row.spread.median), transform=text, ha="right", va="center")
    axes.set_xscale("log")
    axes.set_yticks(places, labels=[row.contestant for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_title(operation)
    axes.set_xlabel(f"{rows[0].unit}, {'more' if more else 'less'} is better", color="0.4")


def draw(result: Result, suite: str, path: Path) -> None:
    """Write the picture of a suite."""
    operations = result.operations(suite)
    deep = -(-len(operations) // PANELS_ACROSS)
    most = max(len(result.of(suite, operation)) for operation in operations)
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(13, deep * (0.8 + 0.2 * most)), layout="constrained")
        panels = drawing.subplots(deep, PANELS_ACROSS, squeeze=False).flatten()
        for axes, operation in zip(panels, operations, strict=False):
            panel(axes, operation, list(result.of(suite, operation).values()))
        for axes in panels[len(operations) :]:
            axes.set_axis_off()
        drawing.savefig(path, dpi=130)
