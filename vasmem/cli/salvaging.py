"""`salvage`: what can still be read of a damaged segment, in a new one."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from vasmem.cli.opening import AS_JSON, OWNER, complete_segment
from vasmem.cli.output import print_json, print_table
from vasmem.damage import SalvageReport
from vasmem.damage import salvage as salvage_segment


def salvage(
    source: Annotated[
        str,
        typer.Argument(
            help="The damaged segment; it stays as it is.",
            autocompletion=complete_segment,
            show_default=False,
        ),
    ],
    target: Annotated[
        str, typer.Argument(help="Name or URL of the new segment.", show_default=False)
    ],
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Copy what can still be read of a damaged segment into a new one; exit 1 if anything is lost.

    Each structure is told with the entries that were copied and the places that were lost: a key,
    or a part of the structure that holds some.
    """
    report = salvage_segment(source, target, owner=owner)
    if as_json:
        print_json(_as_json(report))
    else:
        _print_report(report)
    raise typer.Exit(1 if report.lost else 0)


def _as_json(report: SalvageReport) -> dict[str, Any]:
    facts = asdict(report)
    for part in (facts, *facts["structures"]):
        part["reasons"] = [
            {"invariant": invariant, "place": place, "text": text}
            for invariant, place, text in part["reasons"]
        ]
    return facts


def _print_report(report: SalvageReport) -> None:
    print_table(
        None,
        "structure kind #copied #lost",
        [(row.name, row.kind, row.copied, row.lost) for row in report.structures],
    )
    if not report.lost:
        return
    lost: list[tuple[object, ...]] = [(None, *reason) for reason in report.reasons]
    lost += [(row.name, *reason) for row in report.structures for reason in row.reasons]
    print()
    print_table("lost", "structure #invariant place text", lost)
