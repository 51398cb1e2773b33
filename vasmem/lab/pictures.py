"""Pictures: the life of each line up to the crash, and where in the segment lines are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vasmem.lab.trace import FENCE, FLUSH, STORE, STREAM
from vasmem.memory import LINE_BYTES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vasmem.lab.case import Case
    from vasmem.lab.trace import Trace

INK, FAINT, PAPER = "#1f2933", "#9aa5b1", "#fbfaf8"
STORED, FLUSHED, RISK, LOST, CRASH = "#33658a", "#d98e04", "#f6d8ae", "#c0392b", "#c0392b"
# More rows and events could not be read.
ROWS_MAX, EVENTS_MAX = 24, 80
CELLS = 64
# So many lines have names beside them; more are a map.
BARS_MAX = 32
HEAT_TITLE = "Where it writes: stores by line"


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=PAPER)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK)
    return figure, axes


def timeline(case: Case) -> Figure | None:
    """Rows are lines, time goes to the right: stores, flushes, fences, what is at risk, the cut."""
    events = case.trace.events[-EVENTS_MAX:].tolist()
    stored = [
        (n, at // LINE_BYTES * LINE_BYTES)
        for n, (kind, _, at, _) in enumerate(events)
        if kind in (STORE, STREAM)
    ]
    lines = sorted({line for _, line in stored})[:ROWS_MAX]
    if not lines:
        return None
    rows = {line: len(lines) - 1 - index for index, line in enumerate(lines)}
    end = len(events)
    figure, axes = _figure(11, 1.9 + 0.62 * len(lines))
    guilty = {line.at // LINE_BYTES * LINE_BYTES: line for line in case.lines if line.guilty}
    durable = {line: _kept(case, line, stored) for line in lines}
    for line, row in rows.items():
        axes.axhline(row, color=FAINT, linewidth=0.6, zorder=0)
        first = min(n for n, at in stored if at == line)
        axes.barh(row, end - 0.4 - first, left=first, height=0.5, color=RISK, zorder=1, alpha=0.8)
        count = 0
        for n, at in stored:
            if at == line:
                count += 1
                _store(axes, case, (n, row), events[n], count <= durable[line])
    for n, (kind, _, at, value) in enumerate(events):
        if kind == FENCE:
            axes.axvline(n, color=STORED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
            axes.text(n, len(lines) - 0.42, "fence", color=STORED, ha="center", fontsize=9)
        elif kind == FLUSH:
            for line in range(at, at + value, LINE_BYTES):
                if line in rows:
                    axes.plot(n, rows[line], marker="D", color=FLUSHED, markersize=9, zorder=3)
    axes.axvline(end - 0.4, color=CRASH, linewidth=2.6, zorder=4)
    axes.text(end - 0.4, -0.74, " crash", color=CRASH, fontsize=11, weight="bold", va="center")
    axes.set_yticks(list(rows.values()), [case.trace.places.line(line) for line in rows])
    for label, line in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(CRASH if line in guilty else INK)
        label.set_weight("bold" if line in guilty else "normal")
    axes.set_xlim(-0.7, end + 0.7)
    axes.set_ylim(-0.95, len(lines) - 0.2)
    axes.set_xticks(range(end), [str(n + 1) for n in range(end)] if end <= 40 else [""] * end)
    axes.set_xlabel("events, in the order of the program", color=INK)
    axes.set_title(_title(case), loc="left", fontsize=11, color=INK)
    _legend(axes)
    return figure


def _title(case: Case) -> str:
    text = f"{case.fault}: {case.what}"
    return text if len(text) < 110 else f"{text[:107]}..."


def _store(axes: Any, case: Case, place: tuple[int, int], event: Any, there: bool) -> None:
    n, row = place
    color = STORED if there else LOST
    face = STORED if there else PAPER
    axes.plot(
        n,
        row,
        marker="o",
        color=color,
        markerfacecolor=face,
        markersize=10,
        markeredgewidth=1.8,
        zorder=3,
    )
    name = case.trace.places.name(event[2]).rpartition(".")[2]
    value = event[3] if event[3] < 100_000 else "..."
    axes.annotate(
        f"{name}={value}",
        (n, row),
        (0, 11),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=color,
    )


def _kept(case: Case, line: int, stored: list[tuple[int, int]]) -> int:
    """How many of a line's stores are in the failing state."""
    units = sorted({at for _, at in stored})
    many = sum(at == line for _, at in stored)
    if len(case.state) == len(units):
        return case.state[units.index(line)]
    if len(case.state) == 1:
        numbers = [n for n, (_, at) in enumerate(stored) if at == line]
        return sum(n < case.state[0] for n in numbers)
    return many


def _legend(axes: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(face: str, edge: str, marker: str = "o") -> Line2D:
        return Line2D(
            [],
            [],
            marker=marker,
            linestyle="",
            markerfacecolor=face,
            markeredgecolor=edge,
            markersize=8,
        )

    handles = [dot(STORED, STORED), dot(PAPER, LOST), dot(FLUSHED, FLUSHED, "D"), Patch(color=RISK)]
    names = ["store, in the image", "store, lost", "flush", "at risk"]
    axes.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.24),
        ncols=4,
        frameon=False,
        fontsize=9,
    )


def heat(trace: Trace) -> Figure | None:
    """Stores to each line of the trace, as a map of the segment from its start to its end."""
    written = trace.lines()
    if not written:
        return None
    return _bars(trace, written) if len(written) <= BARS_MAX else _map(trace, written)


def _bars(trace: Trace, written: dict[int, int]) -> Figure:
    lines = sorted(written)
    figure, axes = _figure(11, 1.2 + 0.3 * len(lines))
    times = [written[at] for at in lines]
    axes.barh([trace.places.line(at) for at in lines], times, color=STORED, height=0.62)
    for row, count in enumerate(times):
        axes.text(count, row, f" {count}", va="center", fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.set_title(HEAT_TITLE, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("stores", color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _map(trace: Trace, written: dict[int, int]) -> Figure:
    from matplotlib.colors import LogNorm

    first = min(written) // LINE_BYTES
    count = max(written) // LINE_BYTES - first + 1
    per_cell = -(-count // CELLS**2)
    width = min(CELLS, count)
    rows = (count - 1) // per_cell // width + 1
    cells = np.zeros(rows * width)
    for at, times in written.items():
        cells[(at // LINE_BYTES - first) // per_cell] += times
    grid = np.ma.masked_equal(cells.reshape(rows, width), 0)
    figure, axes = _figure(11, 1.6 + min(5.0, 0.28 * rows + 0.5))
    norm = LogNorm(1, max(grid.max(), 2))
    drawn = axes.imshow(grid, cmap="YlOrRd", norm=norm, aspect="auto", interpolation="nearest")
    figure.colorbar(drawn, ax=axes, label="stores", shrink=0.9)
    axes.set_title(HEAT_TITLE, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(f"lines of 64 bytes, {per_cell} a cell, from {trace.places.line(min(written))}")
    axes.set_yticks([])
    return figure
