"""What the commands print: tables and JSON to stdout, complaints to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# Rich would fold tables to 80 columns where there is no terminal; files and pipes have no width.
_UNBOUNDED = 10_000


class NotFound(Exception):
    """A map or a key is not there."""


def shown(text: object) -> str:
    """The text with what is not printable escaped: names must not drive the terminal."""
    plain = str(text)
    return plain if plain.isprintable() else ascii(plain)[1:-1]


def complain(message: str) -> None:
    """Say on stderr what went wrong."""
    print(f"vasmem: {shown(message)}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One line of JSON, in UTF-8 whatever the locale."""
    write_bytes(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def write_bytes(data: bytes) -> None:
    """Bytes to stdout as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_table(title: str | None, columns: str, rows: Iterable[Iterable[object]]) -> None:
    """A table without lines; columns whose name begins with `#` are numbers."""
    stdout = Console(highlight=False, markup=False, emoji=False)
    if not stdout.is_terminal:
        stdout.width = _UNBOUNDED
    if title:
        stdout.print(title, style="bold")
    table = Table(box=box.SIMPLE_HEAD if stdout.is_terminal else None, pad_edge=False)
    for column in columns.split():
        side: Any = "right" if column.startswith("#") else "left"
        table.add_column(column.lstrip("#"), justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*("-" if cell is None else shown(cell) for cell in row))
    stdout.print(table)
