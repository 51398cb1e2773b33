"""`restore`: a segment from a copy of its file."""

from pathlib import Path
from typing import Annotated

import typer

from vasmem.backup import restore as restore_segment
from vasmem.cli.opening import AS_JSON
from vasmem.cli.output import print_json


def restore(
    copy: Annotated[Path, typer.Argument(help="A copy of a segment's file.", show_default=False)],
    name: Annotated[
        str, typer.Argument(help="Name or URL of the new segment.", show_default=False)
    ],
    as_json: AS_JSON = False,
) -> None:
    """Make a segment of a copy of a segment's file that was made while nobody wrote."""
    with restore_segment(copy, name) as segment:
        facts = {"name": segment.name, "structures": len(segment), "size": segment.size}
    if as_json:
        print_json(facts)
    else:
        print(f"restored {facts['name']} with {facts['structures']} structures")
