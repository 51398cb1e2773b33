"""`nvm`: what an emulated segment asked of its medium, and how it wore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vasmem.cli.opening import AS_JSON, NAME, OWNER
from vasmem.cli.output import print_json, print_table
from vasmem.opening import attach

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINE_BYTES = 64
# Cells of the heat map, in each direction.
CELLS = 128
MOST_WORN = 10


def nvm(
    name: NAME,
    png: Annotated[
        Path | None, typer.Option(help="Write a heat map of the wear there (needs matplotlib).")
    ] = None,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Show flushes, fences, lines and wear of an emulated segment since it was made.

    A line is 64 bytes. `lines` were flushed, `lines_written` of them changed the medium.
    """
    with attach(name, readonly=True, owner=owner) as segment:
        counts = segment.nvm()
        lines, times = segment.wear()
    if png is not None:
        _draw(name, lines, times, png)
    worn = sorted(zip(times.tolist(), lines.tolist(), strict=True), reverse=True)
    found = {
        **counts,
        "write_amplification": _ratio(counts["lines_written"] * LINE_BYTES, counts["bytes_asked"]),
        "lines_worn": len(worn),
        "most_worn": [
            {"offset": line * LINE_BYTES, "times": count} for count, line in worn[:MOST_WORN]
        ],
    }
    if as_json:
        print_json(found)
    else:
        _print(found)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _text(number: float | None) -> str | None:
    return None if number is None else f"{number:.2f}"


def _print(found: dict[str, Any]) -> None:
    commits = found["commits"]
    counted = ("flushes", "lines", "fences", "lines_written", "words_written")
    print_table(
        None,
        "counter #in_all #per_commit",
        [
            (name, found[name], _text(_ratio(found[name], commits)))
            for name in (*counted, "bytes_logged", "bytes_asked")
        ]
        + [("commits", commits, None)],
    )
    print()
    print(f"write amplification: {_text(found['write_amplification']) or '-'}")
    print(f"lines ever written:  {found['lines_worn']}")
    print()
    print_table(
        "most worn",
        "#offset #times",
        [(place["offset"], place["times"]) for place in found["most_worn"]],
    )


def _draw(name: str, lines: NDArray[Any], times: NDArray[Any], path: Path) -> None:
    """A square of cells, in the order of offsets, row by row; each the mean wear of its lines."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("--png needs matplotlib: pip install matplotlib") from None
    import numpy

    last = int(lines.max()) if len(lines) else 0
    lines_per_cell = last // CELLS**2 + 1
    cells = numpy.bincount(
        (lines // lines_per_cell).astype("i8"), weights=times, minlength=CELLS**2
    )
    wear = cells.reshape(CELLS, CELLS) / lines_per_cell
    figure = Figure(figsize=(7, 6))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = axes.imshow(
        numpy.ma.masked_equal(wear, 0),
        norm=LogNorm() if wear.any() else None,
        interpolation="nearest",
    )
    figure.colorbar(drawn, label="writes per line")
    axes.set_title(f"{name}: wear, {lines_per_cell * LINE_BYTES} bytes a cell")
    axes.set_xlabel("cell of a row")
    axes.set_ylabel("row, from the start of the segment")
    figure.savefig(path, format="png")
