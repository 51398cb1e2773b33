"""Arguments that the commands share: segments and maps by name, with their completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import typer

from vasmem.cli.output import NotFound
from vasmem.errors import VasmemError, WrongType
from vasmem.listing import segments
from vasmem.opening import attach
from vasmem.segment import Segment, Structure


def complete_segment(incomplete: str) -> list[str]:
    """Names of segments that begin so."""
    return [info.name for info in segments() if info.name.startswith(incomplete)]


def complete_map(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of maps and trees that begin so, in the segment that was named before."""
    return [name for name in _names(ctx.params["name"]) if name.startswith(incomplete)]


def complete_path(incomplete: str) -> list[str]:
    """NAME/STRUCT that begin so."""
    segment_name, structure = split_path(incomplete)
    if not structure and "/" not in incomplete:
        return [f"{name}/" for name in complete_segment(incomplete)]
    paths = [f"{segment_name}/{name}" for name in _names(segment_name)]
    return [path for path in paths if path.startswith(incomplete)]


def split_path(path: str) -> tuple[str, str]:
    """Segment and structure of NAME/STRUCT: what follows the name, or the last slash of a URL."""
    split = str.rpartition if "://" in path else str.partition
    segment_name, _, structure = split(path, "/")
    return segment_name, structure


def _names(segment_name: str) -> list[str]:
    try:
        with attach(segment_name, readonly=True, owner="any") as segment:
            return list(segment)
    except (VasmemError, ValueError):
        return []


NAME = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_segment, show_default=False)
]
MAP = Annotated[str, typer.Argument(metavar="MAP", autocompletion=complete_map, show_default=False)]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")]
OWNER = Annotated[
    str | None,
    typer.Option(help="Accept a segment of this user, or of any; else only yours and root's."),
]


def open_structure(segment: Segment, name: str, what: str = "structure") -> Any:
    """What has that name, which must be there."""
    try:
        return segment[name]
    except KeyError:
        raise NotFound(
            f"{segment.name} has no {what} named {name!r}; "
            f"`vasmem info {segment.name}` lists its {what}s"
        ) from None


def open_map(segment: Segment, name: str) -> Structure:
    """The map or tree of that name, which must be there."""
    found = open_structure(segment, name, "map")
    if not isinstance(found, Mapping):
        raise WrongType(f"{name!r} in {segment.name} is {found!r}, neither a map nor a tree")
    return cast(Structure, found)
