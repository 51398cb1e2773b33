"""`info` and `check`: one segment, looked at as a whole."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vasmem.cli.opening import AS_JSON, NAME, OWNER
from vasmem.cli.output import print_json, print_table
from vasmem.errors import FormatMismatch, PermissionDenied
from vasmem.opening import attach
from vasmem.segment import Segment
from vasmem.sizes import format_size


def _command_of(pid: int) -> str | None:
    """Command line of a process that runs here; None for one that does not, or is not seen."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return b" ".join(filter(None, words)).decode(errors="replace")


def _with_commands(lanes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lanes with the command of each owner, and whether it lives, by the process table."""
    found = []
    for lane in lanes:
        command = _command_of(lane["pid"])
        found.append({**lane, "alive": command is not None, "command": command})
    return found


def _fragmentation(heap: dict[str, Any]) -> float | None:
    """Part of the free space that is not in its largest piece; None where nothing is free."""
    free: int = heap["free_bytes"]
    return None if free == 0 else 1 - heap["free_piece_max_bytes"] / free


def info(name: NAME, as_json: AS_JSON = False) -> None:
    """Show sizes, structures, lanes and the heap of a segment.

    A lane is the place of a writer. It is dead if its process is not to be seen from here: killed,
    or in another pid namespace. The next writer that needs it takes a dead lane over.
    """
    with attach(name, readonly=True, owner="any") as segment:
        found = segment.info()
    found["lanes"] = _with_commands(found["lanes"])
    found["heap"]["fragmentation"] = _fragmentation(found["heap"])
    if as_json:
        print_json({**found, "writers": sorted(found["writers"])})
    else:
        _print_info(found)


def _print_info(found: dict[str, Any]) -> None:
    heap = found["heap"]
    for label, value in (
        ("name", found["name"]),
        ("backend", f"{found['backend']}, survives {found['promises']}"),
        (
            "size",
            f"{format_size(found['size'])}, {format_size(found['used'])} used, "
            f"at most {format_size(found['max_size'])}",
        ),
        (
            "heap",
            f"{format_size(heap['used_bytes'])} in blocks, "
            f"{format_size(heap['free_in_classes_bytes'])} free in their classes, "
            f"{format_size(heap['free_bytes'])} free, "
            f"largest piece {format_size(heap['free_piece_max_bytes'])}",
        ),
        ("fragmentation", _percent(heap["fragmentation"])),
    ):
        print(f"{label + ':':<15}{value}")
    print()
    print_table(
        "structures",
        "name kind #length #load",
        [(s["name"], s["kind"], s["length"], _percent(s["load"])) for s in found["structures"]],
    )
    print()
    print_table(
        "lanes",
        "#lane #pid alive command",
        [
            (lane["lane"], lane["pid"], "yes" if lane["alive"] else "no", lane["command"])
            for lane in found["lanes"]
        ],
    )
    print()
    print_table(
        "classes",
        "class #block #blocks #used #used_bytes #free_bytes",
        [
            (
                row["name"],
                row["block_bytes"],
                row["blocks"],
                row["blocks_used"],
                format_size(row["used_bytes"]),
                format_size(row["free_bytes"]),
            )
            for row in heap["classes"]
        ],
    )


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{part:.0%}"


def check(
    name: NAME,
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Look only; writers must be still meanwhile.")
    ] = False,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Walk a whole segment; exit 1 if something is broken, and say what.

    Writers wait meanwhile and what dead ones had begun is finished first; without the permission to
    write, or without the lock file, it looks only.
    """
    with _attached(name, readonly, owner) as segment:
        violations = segment.check()
    if as_json:
        keys = ("invariant", "place", "text")
        print_json([dict(zip(keys, violation, strict=True)) for violation in violations])
    elif violations:
        print_table(None, "#invariant place text", violations)
    else:
        print("nothing is broken")
    raise typer.Exit(1 if violations else 0)


def _attached(name: str, readonly: bool, owner: str | None) -> Segment:
    if not readonly:
        try:
            return attach(name, owner=owner)
        except (PermissionDenied, FormatMismatch):
            pass  # if reading is refused, too, that says why
    return attach(name, readonly=True, owner=owner)
