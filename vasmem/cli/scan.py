"""`scan`: a range of a structure, as a table or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from vasmem import _core
from vasmem.cli import tagged
from vasmem.cli.arrays import LINE_BYTES
from vasmem.cli.data import argument, is_raw, plain
from vasmem.cli.opening import AS_JSON, OWNER, complete_path, open_structure, split_path
from vasmem.cli.output import complain, print_table
from vasmem.errors import WrongType
from vasmem.opening import attach
from vasmem.queues import Queue
from vasmem.sets import Set

# A table is for eyes, and its columns are as wide as their widest cell: it is made as a whole.
TABLE_ROWS = 1000
# What a line of JSON has beside the name of its structure; the columns of a table.
Row = dict[str, Any]


def scan(
    path: Annotated[
        str,
        typer.Argument(metavar="NAME/STRUCT", autocompletion=complete_path, show_default=False),
    ],
    low: Annotated[
        str | None,
        typer.Option("--from", metavar="KEY", help="First key of a B-tree, or row of an array."),
    ] = None,
    high: Annotated[
        str | None, typer.Option("--to", metavar="KEY", help="Last key or row; it is included.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"Print no more than so many; {TABLE_ROWS} in a table."),
    ] = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Of a B-tree or an array, from the last one on.")
    ] = False,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Print a range of a B-tree or an array, or what is in a map, set or queue.

    Keys are given as to `get`. With --json a line is as one of `dump`; a row of an array is a line.
    No more is read than is printed, and others may write meanwhile.
    """
    segment_name, structure = split_path(path)
    if not structure:
        raise ValueError(f"{path!r} does not name a structure: write NAME/STRUCT")
    with attach(segment_name, readonly=True, owner=owner) as segment:
        found = open_structure(segment, structure)
        what, rows = _rows(found, low, high, reverse)
        if as_json:
            _print_lines({what: found.name}, islice(rows, limit))
        else:
            _print_rows(rows, limit)


def _rows(
    found: Any, low: str | None, high: str | None, reverse: bool
) -> tuple[str, Iterator[Row]]:
    """What lines call the structure, and its rows that were asked for."""
    if isinstance(found, _core.Array):
        return "array", _rows_of_array(found, _row(low), _row(high), reverse)
    if hasattr(found, "irange"):
        bounds = (_bound(found, low), _bound(found, high))
        items = found.items().irange(*bounds, reverse=reverse)
        return "map", ({"key": key, "value": value} for key, value in items)
    if isinstance(found, (Mapping, Set, Queue)) and (low, high, reverse) != (None, None, False):
        raise WrongType(f"{found!r} has no order: --from, --to and --reverse are for B-trees")
    if isinstance(found, Mapping):
        return "map", ({"key": key, "value": value} for key, value in found.items())
    if isinstance(found, Set):
        return "set", ({"key": key} for key in found)
    if isinstance(found, Queue):
        return "queue", ({"item": item} for item in found.items())
    raise WrongType(f"{found!r} holds no entries; `vasmem info {found.segment.name}` shows it")


def _bound(found: Any, text: str | None) -> Any:
    if text is None:
        return None
    key = argument(text, is_raw(found))
    if key is None:
        raise ValueError("null is the key before all others: leave the bound out, or use `get`")
    return key


def _row(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is no row of an array: rows are 0, 1, 2, ...")
    return int(text)


def _rows_of_array(found: Any, low: int | None, high: int | None, reverse: bool) -> Iterator[Row]:
    """Some rows at a time, each piece as it was at one time."""
    length = len(found)
    start, stop = low or 0, length if high is None else min(high + 1, length)
    step = max(1, LINE_BYTES // found.row_bytes)
    pieces = range(start, stop, step)
    for first in reversed(pieces) if reverse else pieces:
        rows = list(enumerate(found[first : min(first + step, stop)].tolist(), first))
        for at, row in reversed(rows) if reverse else rows:
            yield {"at": at, "row": row}


def _print_lines(head: Row, rows: Iterator[Row]) -> None:
    sys.stdout.flush()
    for row in rows:
        sys.stdout.buffer.write(tagged.dumps({**head, **row}).encode() + b"\n")
    sys.stdout.buffer.flush()


def _print_rows(rows: Iterator[Row], limit: int | None) -> None:
    shown = list(islice(rows, TABLE_ROWS if limit is None else limit))
    columns = " ".join(shown[0]) if shown else "nothing"
    print_table(None, columns, [map(plain, row.values()) for row in shown])
    if limit is None and next(rows, None) is not None:
        complain(f"there is more than these {TABLE_ROWS}: --limit, --from or --json show it")
