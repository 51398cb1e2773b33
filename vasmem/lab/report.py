"""Reports of a result: one HTML file that needs nothing else, PNGs, and a table for terminals."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vasmem.lab.result import Result, describe, tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vasmem.lab.case import Case

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fbfaf8;
       max-width: 1080px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-weight: 600; letter-spacing: -.01em; margin-bottom: .2rem; }
h2 { font-weight: 600; margin-top: 2.2rem; border-bottom: 1px solid #d9d4cc; }
.verdict { background: #fdecea; border-left: 4px solid #c0392b; padding: .7rem 1rem; }
.verdict.good { background: #e9f5ec; border-color: #2e7d4f; }
.advice { background: #eef3fb; border-left: 4px solid #33658a; padding: .7rem 1rem; }
pre { background: #fff; border: 1px solid #e4dfd7; padding: .8rem 1rem; overflow-x: auto;
      font: 13px/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; text-align: left; }
td.n, th.n { text-align: right; } img { max-width: 100%; border: 1px solid #e4dfd7; }
small { color: #6b7580; }
"""


def can_draw() -> bool:
    """Whether matplotlib is there, which pictures need (extra `lab`)."""
    return importlib.util.find_spec("matplotlib") is not None


def write_report(result: Result, path: Path) -> Path:
    """Write the HTML report there, and a PNG for each picture beside it."""
    if not can_draw():
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'vasmem[lab]'")
    from vasmem.lab import pictures

    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"<h1>{html.escape(result.name)}</h1>", _summary(result)]
    for number, case in enumerate(result.cases, 1):
        parts += _case(case)
        many = len(result.cases) > 1
        name = f"{path.stem}-{number}-timeline" if many else f"{path.stem}-timeline"
        parts.append(_picture(pictures.timeline(case), path.with_name(f"{name}.png")))
    if result.trace is not None:
        parts.append("<h2>All that the workload stores</h2>")
        parts.append(_picture(pictures.heat(result.trace), path.with_name(f"{path.stem}-heat.png")))
    parts.append("<h2>What was tried</h2>")
    parts.append(_counts(result))
    body = "\n".join(parts)
    title = html.escape(f"{result.name}: crash lab")
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
    return path


def _picture(figure: Figure | None, path: Path) -> str:
    """Writes a PNG there; the same as a part of the page."""
    if figure is None:
        return ""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=144, bbox_inches="tight", pad_inches=0.15)
    path.write_bytes(data.getvalue())
    encoded = base64.b64encode(data.getvalue()).decode()
    return f'<p><img alt="{path.stem}" src="data:image/png;base64,{encoded}"></p>'


def _summary(result: Result) -> str:
    if not result.cases:
        return '<p class="verdict good">No crash that was tried leads to anything wrong.</p>'
    what = html.escape(describe(result.cases[0])[0])
    return f'<p class="verdict">{what}</p>'


def _case(case: Case) -> list[str]:
    parts = ["<h2>The smallest case</h2>"]
    if case.details:
        lines = "\n".join(html.escape(line) for line in case.details)
        parts.append(f"<p>After recovery:</p><pre>{lines}</pre>")
    if case.guilty():
        items = "".join(f"<li>{html.escape(line)}</li>" for line in case.guilty())
        parts.append(f"<p>The lines that matter at the crash:</p><ul>{items}</ul>")
    if advice := case.advice():
        parts.append(f'<p class="advice">{html.escape(advice)}.</p>')
    events = "\n".join(f"{n:3} {html.escape(e)}" for n, e in enumerate(case.events(), 1))
    if events:
        parts.append(f"<pre>{events}\n    -- crash --</pre>")
    if case.path is not None:
        parts.append(f"<pre>vasmem lab replay {html.escape(str(case.path))}</pre>")
    return parts


def _counts(result: Result) -> str:
    head = "<tr><th>fault</th>" + "".join(f'<th class="n">{n}</th>' for n in COLUMNS) + "</tr>"
    rows = []
    for fault, counts in result.counts.items():
        cells = "".join(f'<td class="n">{cell}</td>' for cell in row(counts))
        rows.append(f"<tr><td>{html.escape(fault)}</td>{cells}</tr>")
    told = "".join(f"<br><small>{html.escape(tried(c))}</small>" for c in result.counts.values())
    return f"<table>{head}{''.join(rows)}</table><p>{told}</p>"


COLUMNS = ("exist", "drawn", "distinct", "second", "a second", "at most fail")


def row(counts: Any) -> list[str]:
    """The cells of a table for some counts."""
    bound = "none" if counts.bound is None else f"{counts.bound:.1g}"
    if counts.failures:
        bound = f"{counts.failures} found"
    numbers = [f"{counts.exist:.3g}", f"{counts.drawn:,}", f"{counts.distinct:,}"]
    return [*numbers, f"{counts.second:,}", f"{counts.rate:,.0f}", bound]


def print_result(result: Result) -> None:
    """A table on the terminal, and each case in words."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    table = Table("fault", title=result.name, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for fault, counts in result.counts.items():
        table.add_row(fault, *row(counts))
    console.print(table)
    for case in result.cases:
        for line in describe(case):
            console.print(line, markup=False, highlight=False)
        if case.path is not None:
            console.print(f"again:   vasmem lab replay {case.path}", markup=False, highlight=False)
    if result.report is not None:
        console.print(f"picture: {result.report}", markup=False, highlight=False)
