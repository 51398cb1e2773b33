"""`vas`: named sets of segments."""

from dataclasses import asdict
from typing import Annotated

import typer

from vasmem.cli.opening import AS_JSON, OWNER, complete_segment
from vasmem.cli.output import print_json, print_table
from vasmem.vas import Vas, VasInfo, vases

app = typer.Typer(
    no_args_is_help=True, help="Named sets of segments that a thread can switch into."
)


def _complete(incomplete: str) -> list[str]:
    return [found.name for found in vases() if found.name.startswith(incomplete)]


NAME = Annotated[str, typer.Argument(metavar="VAS", autocompletion=_complete, show_default=False)]
SEGMENT = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_segment, show_default=False)
]


def _plain(found: VasInfo) -> dict[str, object]:
    return {**asdict(found), "mode": f"{found.mode:04o}"}


@app.command()
def create(
    name: NAME, mode: Annotated[str, typer.Option(help="Permission bits, octal.")] = "600"
) -> None:
    """Make an empty VAS; `vas://NAME` is kept by the kernel module."""
    Vas.create(name, mode=int(mode, 8)).close()


@app.command()
def add(
    name: NAME,
    segment: SEGMENT,
    readonly: Annotated[bool, typer.Option("--readonly", help="For reading only.")] = False,
    owner: OWNER = None,
) -> None:
    """Make a segment a member, or change how it is one."""
    with Vas.attach(name, owner=owner) as vas:
        vas.add(segment, readonly=readonly)


@app.command()
def discard(name: NAME, segment: SEGMENT, owner: OWNER = None) -> None:
    """Let a segment go; the segment itself stays."""
    with Vas.attach(name, owner=owner) as vas:
        vas.discard(segment)


@app.command()
def ls(as_json: AS_JSON = False) -> None:
    """List the VASes, and their segments where you may look."""
    found = vases()
    if as_json:
        print_json([_plain(each) for each in found])
        return
    rows = (
        (
            each.name,
            f"{each.mode:04o}",
            each.owner,
            None if each.segments is None else " ".join(each.segments),
        )
        for each in found
    )
    print_table(None, "name mode owner segments", rows)


@app.command()
def info(name: NAME, as_json: AS_JSON = False, owner: OWNER = None) -> None:
    """Show one VAS: who may use it, and its segments."""
    with Vas.attach(name, readonly=True, owner=owner) as vas:
        found = VasInfo(vas.name, vas.mode, vas.owner, dict(vas))
    if as_json:
        print_json(_plain(found))
        return
    title = f"{found.name}, mode {found.mode:04o}, of {found.owner}"
    print_table(title, "segment access", (found.segments or {}).items())


@app.command()
def rm(name: NAME) -> None:
    """Take a VAS's name away; its segments stay."""
    Vas.remove(name)
