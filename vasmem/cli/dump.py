"""`dump` and `load`: what a segment holds as lines of JSON.

A line is `{"map": "users", "kind": "hashmap"}` before the records of a map, or a record
`{"map": "users", "key": ..., "value": ...}`; `vasmem.cli.tagged` says how keys and values look.
Kinds are "hashmap" and "btree", and each of them also "raw" and "typed"; a typed one has `key`
and `value` as `"types": [..., ...]`, the way numpy describes dtypes. `vasmem.cli.small` and
`vasmem.cli.arrays` have the lines of other structures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from vasmem import _core
from vasmem.batches import BATCH
from vasmem.btree import BTree
from vasmem.cli import arrays, small, tagged
from vasmem.cli.opening import AS_JSON, NAME, OWNER, complete_map, open_map
from vasmem.cli.output import print_json
from vasmem.counter import Counter
from vasmem.lock import Lock
from vasmem.opening import SIZE_MAX, attach
from vasmem.opening import open as open_segment
from vasmem.queues import Queue
from vasmem.segment import Segment, Structure
from vasmem.sets import Set

KINDS = tuple(f"{kind}{way}" for kind in ("hashmap", "btree") for way in ("", " raw", " typed"))
TYPED = ("hashmap typed", "btree typed")
_OTHERS = (Set, Counter, Queue, Lock, _core.Array)
# Records or bytes between two moves of the progress bar.
STRIDE = 512


class _Summary:
    """What was dumped or loaded."""

    def __init__(self) -> None:
        self.maps = 0
        self.records = 0
        self.others = 0

    def as_json(self) -> dict[str, int]:
        others = {"others": self.others} if self.others else {}
        return {"maps": self.maps, "records": self.records, **others}


def dump(
    name: NAME,
    map_name: Annotated[
        str | None,
        typer.Argument(metavar="[MAP]", autocompletion=complete_map, show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Into this file, which appears when complete."),
    ] = None,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Write all structures, or one, as lines of JSON that `load` takes back without loss.

    Others may write meanwhile: each record is as it was at one moment, and what is there all the
    time comes exactly once. A queue's items on lease are among the others. Locks are left out. With
    --json a summary goes to stderr.
    """
    summary = _Summary()
    with attach(name, readonly=True, owner=owner) as segment:
        names = sorted(segment) if map_name is None else [map_name]
        others = [found for name in names if isinstance(found := segment.get(name), _OTHERS)]
        maps = [open_map(segment, name) for name in names if name not in {o.name for o in others}]
        with _output(output) as stream, _progress("dump", sum(map(len, maps))) as advance:
            for found in maps:
                _dump_map(found, stream, summary, advance)
            for found in others:
                _dump_other(found, stream, summary)
    if as_json:
        print(tagged.dumps(summary.as_json()), file=sys.stderr)


def _dump_map(
    found: Structure, stream: BinaryIO, summary: _Summary, advance: Callable[[int], None]
) -> None:
    declared = {"map": found.name, **_kind_of(found)}
    stream.write(tagged.dumps(declared).encode() + b"\n")
    summary.maps += 1
    for key, value in found.items():
        line = {"map": found.name, "key": key, "value": value}
        stream.write(tagged.dumps(line).encode() + b"\n")
        summary.records += 1
        advance(1)


def _dump_other(found: Any, stream: BinaryIO, summary: _Summary) -> None:
    if isinstance(found, Lock):
        print(
            f"vasmem: lock {found.name!r} is left out: its holder is of the moment", file=sys.stderr
        )
        return
    summary.others += 1
    said = arrays if isinstance(found, _core.Array) else small
    for line in said.lines(found):
        stream.write(tagged.dumps(line).encode() + b"\n")


def _kind_of(found: Structure) -> dict[str, Any]:
    kind = "btree" if isinstance(found, BTree) else "hashmap"
    if (types := getattr(found, "descriptions", None)) is not None:
        return {"kind": f"{kind} typed", "types": list(types)}
    return {"kind": f"{kind} raw" if getattr(found, "raw", False) else kind}


def load(
    name: NAME,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Standard input without it.", show_default=False),
    ] = None,
    max_size: Annotated[
        str, typer.Option(help="Most that the segment may grow to, if it is made.")
    ] = SIZE_MAX,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Put the records of a dump into a segment, which is made if it is not there.

    Keys that are there get the value of the dump, others stay. Records go in by thousands; after an
    error those of the lines before it may be in, and loading again does no harm, but puts the items
    of queues once more.
    """
    summary = _Summary()
    with (
        sys.stdin.buffer if file is None else file.open("rb") as stream,
        open_segment(name, max_size=max_size, owner=owner) as segment,
        _progress("load", file.stat().st_size if file else None) as advance,
    ):
        maps: dict[str, Structure] = {}
        for map_name, keys, values in _batches(_records(stream, file, segment, maps, advance)):
            maps[map_name].put_many(keys, values)
            summary.records += len(keys)
        summary.maps = len(maps)
    if as_json:
        print_json(summary.as_json())


def _records(
    stream: BinaryIO,
    file: Path | None,
    segment: Segment,
    maps: dict[str, Structure],
    advance: Callable[[int], None],
) -> Iterator[tuple[str, Any, Any]]:
    """Map, key and value of each line; the maps are opened, or made, in `maps`."""
    for number, line in enumerate(stream, 1):
        advance(len(line))
        if not line.strip():
            continue
        try:
            record = tagged.loads(line.decode())
            if small.load_line(segment, record) or arrays.load_line(segment, record):
                continue
            map_name, kind = _parts(record)
            if map_name not in maps:
                maps[map_name] = _map_for(segment, map_name, kind, record.get("types"))
        except ValueError as error:
            raise ValueError(f"{file or 'standard input'}, line {number}: {error}") from None
        if "key" in record:
            yield map_name, record["key"], record["value"]


def _parts(record: Any) -> tuple[str, str | None]:
    """Name and kind of the map that a line is about."""
    if type(record) is dict and type(record.get("map")) is str:
        if record.keys() == {"map", "key", "value"}:
            return record["map"], None
        types = {"types"} if record.get("kind") in TYPED else set()
        if record.keys() == {"map", "kind"} | types and record["kind"] in KINDS:
            return record["map"], record["kind"]
    kinds = ", ".join(map(repr, KINDS))
    raise ValueError(
        'a line is {"map": NAME, "key": ..., "value": ...} or {"map": NAME, "kind": KIND}, '
        f"where KIND is one of {kinds}"
    )


def _map_for(segment: Segment, name: str, kind: str | None, types: Any) -> Structure:
    """The map of that name; what the segment has keeps its kind, which must be that of the dump."""
    if kind is None and name in segment:
        return open_map(segment, name)
    what, *options = (kind or "hashmap").split()
    make: Any = segment.btree if what == "btree" else segment.hashmap
    if types is not None:
        from vasmem.dtypes import dtypes_of  # numpy takes long to import

        key, value = dtypes_of(types)
        made: Structure = make(name, key=key, value=value)
    else:
        made = make(name, raw="raw" in options)
    return made


def _batches(
    records: Iterator[tuple[str, Any, Any]],
) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Records of one map in a row, up to `BATCH` of them at a time."""
    current = ""
    keys: list[Any] = []
    values: list[Any] = []
    try:
        for map_name, key, value in records:
            if keys and (map_name != current or len(keys) == BATCH):
                yield current, keys, values
                keys, values = [], []
            current = map_name
            keys.append(key)
            values.append(value)
    except ValueError:
        if keys:
            yield current, keys, values
        raise
    if keys:
        yield current, keys, values


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Stdout, or a file that takes its name when it is complete and on disk."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal; the function moves it on."""
    stderr = Console(stderr=True)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        pending = 0

        def advance(amount: int) -> None:
            nonlocal pending
            pending += amount
            if pending >= STRIDE:
                progress.advance(task, pending)
                pending = 0

        yield advance
