"""`lab`: crash experiments from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vasmem.cli.output import print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Crash experiments.")

FILE = Annotated[str, typer.Argument(metavar="FILE.py[:WORKLOAD]", help="Where workloads are.")]
CASE = Annotated[Path, typer.Argument(metavar="CASE.json", help="A case that was kept.")]
BUDGET = Annotated[str, typer.Option(help="Time, as in 20s or 2min.")]
SEED = Annotated[int, typer.Option(help="The same seed tries the same.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def run(
    file: FILE,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="px86 (default), eadr, words, fence-only, kill, damage, enospc..."),
    ] = None,
    budget: BUDGET = "20s",
    seed: SEED = 0,
    depth: Annotated[int, typer.Option(help="2 crashes again in recoveries.")] = 2,
    strategy: Annotated[str, typer.Option(help="auto, exhaustive, near, random...")] = "auto",
    as_json: AS_JSON = False,
) -> None:
    """Try the crashes of every workload in a file. Exits with 1 if any leads to something wrong."""
    from vasmem.lab import loading, report
    from vasmem.lab.faults import from_text

    faults = [from_text(text) for text in fault or ["px86"]]
    found = []
    for workload in loading.load(file):
        options: dict[str, Any] = {"budget": budget, "seed": seed, "depth": depth}
        result = _explored(workload, faults, strategy=strategy, **options)
        found.append(result)
        if not as_json:
            report.print_result(result)
    if as_json:
        print_json([result.to_json() for result in found])
    if any(result.cases for result in found):
        raise typer.Exit(1)


def _explored(workload: Any, faults: Any, **options: Any) -> Any:
    """Explores with a progress bar on stderr, where that is a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from vasmem.lab.lab import explore

    if not sys.stderr.isatty():
        return explore(workload, faults, **options)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(workload.name)

        def tell(fault: str, counts: Any) -> None:
            text = f"{workload.name}, {fault}: {counts.distinct:,} of {counts.exist:.3g} states"
            progress.update(task, description=text)

        return explore(workload, faults, tell=tell, **options)


@app.command()
def replay(case: CASE) -> None:
    """Recover and judge a case again, and show it. Exits with 1 if it still fails."""
    from vasmem.lab import loading
    from vasmem.lab.case import Case
    from vasmem.lab.result import describe

    found = Case.load(case)
    if node := found.origin.get("pytest"):
        raise typer.Exit(_replay_test(node, case))
    workload = loading.of_case(found)
    verdict = found.replay(workload)
    if workload is None:
        print("its workload is not there: judged by the contents of vasmem's structures alone")
    print("\n".join(describe(found)))
    print(f"again:   {verdict.what or 'nothing is wrong'}")
    for line in verdict.details:
        print(f"  {line}")
    if verdict:
        raise typer.Exit(1)


def _replay_test(node: str, case: Path) -> int:
    """The test that found it, which tries nothing but this case."""
    import os
    import subprocess
    import sys

    from vasmem.lab.lab import CASE_VARIABLE

    environment = {**os.environ, CASE_VARIABLE: str(case.resolve())}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", node], env=environment).returncode


@app.command()
def shrink(
    case: CASE,
    seconds: Annotated[float, typer.Option(help="How long to try.")] = 30.0,
) -> None:
    """Try longer to make a case smaller, and keep it in its file. Its workload must be there."""
    from vasmem.lab import loading
    from vasmem.lab.case import Case
    from vasmem.lab.result import describe

    found = Case.load(case)
    workload = loading.of_case(found)
    if workload is None:
        raise ValueError(f"the workload of {case} is not there: {found.origin}")
    small = found.shrunk(workload, seconds)
    small.save(case)
    print("\n".join(describe(small)))


@app.command()
def report(case: CASE, to: Annotated[Path | None, typer.Option(help="HTML file.")] = None) -> None:
    """Draw a case: an HTML file that needs nothing else, and a PNG."""
    from vasmem.lab.case import Case
    from vasmem.lab.report import can_draw, write_report
    from vasmem.lab.result import Result

    if not can_draw():
        raise ValueError("pictures need matplotlib: pip install 'vasmem[lab]'")
    found = Case.load(case)
    name = found.origin.get("workload", case.stem)
    print(write_report(Result(name, cases=[found]), to or case.with_suffix(".html")))


@app.command()
def damage(
    segment: Annotated[Path, typer.Argument(help="The file of a segment that nobody writes to.")],
    kinds: Annotated[str, typer.Option(help="Separated by commas.")] = (
        "bit,line,page,truncate,extend,swap"
    ),
    n: Annotated[int, typer.Option(help="How many mutants.")] = 1000,
    seed: SEED = 0,
    as_json: AS_JSON = False,
) -> None:
    """Open mutants of a segment's file. Exits with 1 if one kills, hangs or misleads the reader."""
    from vasmem.lab.mutants import damage as open_mutants

    done = open_mutants(segment, tuple(kinds.split(",")), n, seed=seed)
    if as_json:
        print_json(vars(done))
    else:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(done.outcomes.items()))
        print(f"{done.tried} mutants: {counted}; {len(done.findings)} findings")
        for number, kind, what in done.findings[:20]:
            print(f"  mutant {number}, {kind}: {what}")
    if done.findings:
        raise typer.Exit(1)


@app.command()
def mutate(file: FILE, budget: BUDGET = "5s", as_json: AS_JSON = False) -> None:
    """Leave out each flush and fence of a structure. Exits with 1 if nobody notices one."""
    from vasmem.lab import loading, omissions

    scores = [omissions.mutate(workload, budget=budget) for workload in loading.load(file)]
    if as_json:
        print_json([score.to_json() for score in scores])
    else:
        for score in scores:
            print(f"{score.name}: {score.caught} of {len(score.omissions)} noticed")
            for one in score.omissions:
                print(f"  {one.call} in {one.function}: {one.what or 'NOBODY NOTICES'}")
    if any(score.caught < len(score.omissions) for score in scores):
        raise typer.Exit(1)


@app.command()
def kill(
    file: FILE,
    at: Annotated[int | None, typer.Option(help="After this store alone.")] = None,
    survivors: Annotated[int, typer.Option(help="Processes' attachments that live on.")] = 1,
) -> None:
    """Kill a real process after each store of a workload. Exits with 1 if a survivor is misled."""
    from vasmem.lab import kills, loading

    wrong = 0
    for workload in loading.load(file):
        done = kills.kill(workload, "every-store" if at is None else at, survivors=survivors)
        print(f"{workload.name}: {done.kills} kills, longest wait {done.wait_max_s * 1000:.0f} ms")
        print("".join(f"  {finding}\n" for finding in done.findings[:20]), end="")
        wrong += len(done.findings)
    if wrong:
        raise typer.Exit(1)


@app.command()
def storm(
    workers: Annotated[int, typer.Option(help="Processes at a time.")] = 4,
    kill_hz: Annotated[float, typer.Option(help="Kills a second.")] = 20.0,
    seconds: Annotated[float, typer.Option(help="How long.")] = 10.0,
    seed: SEED = 0,
) -> None:
    """Kill processes at random that move money between accounts of a hash map and a B-tree."""
    from vasmem.lab import accounts, kills

    done = kills.storm(
        accounts.work,
        setup=accounts.setup,
        check=accounts.check,
        workers=workers,
        kill_hz=kill_hz,
        seconds=seconds,
        seed=seed,
    )
    print(f"{done.kills} kills in {seconds:g} s, {len(done.findings)} findings")
    print("".join(f"  {finding}\n" for finding in done.findings[:20]), end="")
    if done.findings:
        raise typer.Exit(1)


@app.command()
def selftest(
    only: Annotated[str, typer.Option(help="Only defects with this in their names.")] = "",
) -> None:
    """Try the lab itself: it must find every defect of its zoo, and nothing where there is none."""
    from vasmem.lab import selftest as zoo

    print(zoo.HEAD, flush=True)
    good = zoo.selftest(lambda catch: print(catch.row(), flush=True), only)
    print("\nall as it must be" if good else "\nNOT as it must be")
    if not good:
        raise typer.Exit(1)
