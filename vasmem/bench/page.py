"""A result as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from vasmem.bench.machine import OTHERS_MAX
from vasmem.bench.result import Result
from vasmem.bench.tables import best, figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto;
       padding: 0 1em }
h1 { font-size: 1.6em } h2 { margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
td, th { padding: .2em .7em; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left; white-space: nowrap }
.text td { text-align: left } .ours td:first-child { color: #2a6f97; font-weight: 600 }
.best { font-weight: 700; background: #e8f1f6 } .warn { color: #a40000 }
img { max-width: 100%; margin: 1em 0 } .wide { overflow-x: auto }
"""


def table(result: Result, suite: str) -> str:
    """Contestants by operations: medians, with lowest and highest round on hovering."""
    operations = result.operations(suite)
    columns = {operation: result.of(suite, operation) for operation in operations}
    names = dict.fromkeys(name for rows in columns.values() for name in rows)
    head = "".join(f"<th>{escape(operation)}</th>" for operation in operations)
    lines = [f"<tr><th></th>{head}</tr>"]
    for name in names:
        cells = []
        for rows in columns.values():
            row = rows.get(name)
            if row is None:
                cells.append("<td></td>")
                continue
            median, low, high = row.spread
            kind = " class=best" if median == best(rows) else ""
            hover = f"{figure(low)} to {figure(high)} {row.unit}, {row.records:,} records"
            cells.append(f'<td{kind} title="{escape(hover)}">{figure(median)}</td>')
        ours = " class=ours" if name.startswith("vasmem") else ""
        lines.append(f"<tr{ours}><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def pairs(items: dict[str, object]) -> str:
    lines = (f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in items.items())
    return f"<table class=text>{''.join(lines)}</table>"


def write(result: Result, pictures: dict[str, Path], path: Path) -> None:
    """Write the page, with the pictures in it."""
    parts = ["<!doctype html><meta charset=utf-8><title>vasmem bench</title>"]
    parts.append(f"<style>{STYLE}</style>")
    parts.append("<h1>vasmem bench</h1><p>Medians of rounds in which all contestants took turns. ")
    parts.append("Figures of another run, or machine, may not be compared with them.</p>")
    for suite in result.suites:
        units = {row.unit for row in result.rows if row.suite == suite}
        parts.append(f"<h2>{escape(suite)} <small>({', '.join(sorted(units))})</small></h2>")
        others = result.suites[suite].get("others", 0.0)
        if others > OTHERS_MAX:
            parts.append(f"<p class=warn>Other programs used up to {others:.2f} cores.</p>")
        data = base64.b64encode(pictures[suite].read_bytes()).decode()
        parts.append(f'<img alt="{escape(suite)}" src="data:image/png;base64,{data}">')
        parts.append(table(result, suite))
    parts.append("<h2>Contestants</h2>")
    parts.append(
        pairs(
            {
                name: f"{about['settings']}. Survives {about['survives']}."
                for name, about in result.contestants.items()
            }
        )
    )
    if result.missing:
        parts.append("<h2>Missing</h2>" + pairs(dict(result.missing)))
    parts.append("<h2>Machine</h2>" + pairs(result.machine) + "<h2>Options</h2>")
    parts.append(pairs(result.options))
    path.write_text("\n".join(parts))
