"""Arguments that the commands share: segments and maps by name, with their completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

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
    try:
        with attach(ctx.params["name"], readonly=True, owner="any") as segment:
            return [name for name in segment if name.startswith(incomplete)]
    except (VasmemError, ValueError, KeyError):
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


def open_map(segment: Segment, name: str) -> Structure:
    """The map or tree of that name, which must be there."""
    try:
        found = segment[name]
    except KeyError:
        raise NotFound(
            f"{segment.name} has no map named {name!r}; `vasmem info {segment.name}` lists its maps"
        ) from None
    if not isinstance(found, Mapping):
        raise WrongType(f"{name!r} in {segment.name} is {found!r}, neither a map nor a tree")
    return cast(Structure, found)
