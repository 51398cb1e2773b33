"""`ls` and `rm`: the segments there are."""

from dataclasses import asdict
from typing import Annotated

import typer

from vasmem.cli.opening import AS_JSON, complete_segment
from vasmem.cli.output import complain, print_json, print_table
from vasmem.errors import SegmentNotFound, VasmemError
from vasmem.listing import segments
from vasmem.opening import remove
from vasmem.sizes import format_size


def ls(as_json: AS_JSON = False) -> None:
    """List the segments of every backend, damaged ones included, with a note what is wrong.

    Files are found in the directories that VASMEM_FILE_DIRS names.
    """
    found = segments()
    if as_json:
        print_json([{**asdict(info), "mode": f"{info.mode:04o}"} for info in found])
        return
    noted = any(info.note for info in found)
    print_table(
        None,
        "name backend #size #used mode owner #attached" + noted * " note",
        (
            (
                info.name,
                info.backend,
                format_size(info.size),
                None if info.used is None else format_size(info.used),
                f"{info.mode:04o}",
                info.owner,
                info.attached,
                *[info.note or ""] * noted,
            )
            for info in found
        ),
    )


def rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", autocompletion=complete_segment, show_default=False),
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Pass over missing ones.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Remove segments, damaged ones too; programs that have them attached go on.

    What cannot be removed is reported, and the others are removed all the same.
    """
    removed = []
    failures = 0
    for name in names:
        try:
            remove(name)
            removed.append(name)
        except SegmentNotFound:
            if not force:
                complain(f"no segment is named {name}; `vasmem ls` lists those there are")
                failures = max(failures, 1)
        except ValueError as error:
            complain(str(error))
            failures = max(failures, 2)
        except (VasmemError, OSError) as error:
            complain(str(error))
            failures = max(failures, 3)
    if as_json:
        print_json({"removed": removed})
    raise typer.Exit(failures)
