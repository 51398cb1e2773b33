"""`bench`: vasmem beside other stores, on this machine."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vasmem.errors import BackendUnavailable

# Those of vasmem.bench.suites, which is imported only when something is measured.
SUITES = ("kv", "ordered", "array", "attach", "durable", "contend", "recover")


class Words(TyperGroup):
    """`vasmem bench kv` is short for `vasmem bench run kv`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the `run` in."""
        if not args or args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Words, rich_markup_mode=None)


def _ensure_extra() -> None:
    needed = ("lmdb", "matplotlib", "numpy", "sortedcontainers")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        text = f"the benchmark needs {', '.join(absent)}; pip install 'vasmem[bench]' has them"
        raise BackendUnavailable(text)


@app.command("run")
def run(
    suites: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(SUITES)}; all if none.")
    ] = None,
    records: Annotated[int, typer.Option(min=3000, help="Records in each store.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of all contestants.")] = 3,
    contestants: Annotated[
        str, typer.Option(help="Only these, by commas; all that can run if empty.")
    ] = "",
    processes: Annotated[int, typer.Option(min=1, max=8, help="At most so many contend.")] = 8,
    directory: Annotated[Path, typer.Option(help="A tmpfs, for what is in memory.")] = Path(
        "/dev/shm"
    ),
    disk: Annotated[Path, typer.Option(help="On a disk, for durable commits.")] = Path("/var/tmp"),
    output: Annotated[
        Path, typer.Option(help="Write JSON, CSV, pictures and a page into this directory.")
    ] = Path("vasmem-bench"),
    seed: Annotated[int, typer.Option(help="Of the records and orders.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: whether all works, not how fast.")
    ] = False,
) -> None:
    """Measure, print tables, and write the result.

    Contestants take turns within a round, the figures are medians of the rounds. The machine should
    have nothing else to do; what was disturbed is measured again, and said.
    """
    _ensure_extra()
    from rich.console import Console

    from vasmem.bench import machine, tables
    from vasmem.bench import suites as known
    from vasmem.bench.contestants import CONTESTANTS, DURABLE
    from vasmem.bench.result import Result
    from vasmem.bench.run import Options, Run

    chosen = suites or list(SUITES)
    if unknown := [name for name in chosen if name not in SUITES]:
        raise ValueError(f"no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    names = tuple(name for name in contestants.split(",") if name)
    known_names = {*CONTESTANTS, *DURABLE, *known.array.KINDS}
    if strangers := [name for name in names if name not in known_names]:
        raise ValueError(f"no contestant {strangers[0]!r}; there are {', '.join(known_names)}")
    for place in (directory, disk):
        if not place.is_dir():
            raise ValueError(f"{place} is no directory; see --directory and --disk")
    options = Options(records, rounds, seed, directory, disk, names, processes)
    if quick:
        options = options.tiny()
    written = {key: str(value) for key, value in asdict(options).items()}
    result = Result(machine.facts(directory), written)
    console = Console(stderr=True)
    measured = Run(options, console, result)
    for name in chosen:
        start = time.monotonic()
        result.suites[name] = {"repeated": 0, "others": 0.0}
        result.rows.extend(known.SUITES[name](measured))
        result.suites[name]["seconds"] = time.monotonic() - start
    tables.show_all(result, Console())
    write(result, output)
    console.print(f"written: {output}/result.json, result.csv, page.html, *.png", markup=False)


def write(result: object, output: Path) -> None:
    """All files of a result."""
    import matplotlib as mpl

    from vasmem.bench import page, pictures
    from vasmem.bench.result import Result

    assert isinstance(result, Result)
    mpl.use("agg")
    output.mkdir(parents=True, exist_ok=True)
    result.save(output / "result.json")
    result.save_csv(output / "result.csv")
    drawn = {}
    for suite in result.suites:
        if result.operations(suite):
            drawn[suite] = output / f"{suite}.png"
            pictures.draw(result, suite, drawn[suite])
    page.write(result, drawn, output / "page.html")


@app.command("compare")
def compare(first: Path, second: Path) -> None:
    """Say what changed between two result.json of the same machine."""
    _ensure_extra()
    from vasmem.bench.compare import changes
    from vasmem.bench.result import load
    from vasmem.cli.output import print_table

    found = changes(load(first), load(second))
    rows = (
        (c.suite, c.operation, c.contestant, f"{c.ratio:.2f}", "clear" if c.clear else "noise")
        for c in found
    )
    title = "time of the second in units of the first"
    print_table(title, "suite operation contestant #ratio difference", rows)


@app.command("report")
def report(result: Path, output: Path) -> None:
    """Make pictures, page and CSV of a result.json again."""
    _ensure_extra()
    from vasmem.bench.result import load

    write(load(result), output)
