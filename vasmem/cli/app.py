"""The commands put together, and what becomes of their errors."""

from typing import Any

import typer
from typer.core import TyperGroup

from vasmem.cli import bench, data, dump, facts, lab, listing, nvm, restoring, salvaging, scan, vas
from vasmem.cli.output import NotFound, complain
from vasmem.errors import SegmentNotFound, VasmemError

NOT_FOUND, USAGE, FAILED, INTERRUPTED = 1, 2, 3, 130


class Commands(TyperGroup):
    """Turns exceptions into a line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has seen enough; the framework exits quietly
            raise
        except KeyboardInterrupt:
            code, message = INTERRUPTED, "interrupted"
        except SegmentNotFound as error:
            hint = "; `vasmem ls` lists those there are"
            code, message = NOT_FOUND, str(error).partition(";")[0] + hint
        except NotFound as error:
            code, message = NOT_FOUND, str(error)
        except (ValueError, TypeError) as error:
            code, message = USAGE, str(error)
        except (VasmemError, OSError) as error:
            code, message = FAILED, str(error)
        complain(message)
        raise typer.Exit(code)


app = typer.Typer(
    name="vasmem",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command, name in (
    (listing.ls, "ls"),
    (facts.info, "info"),
    (data.get, "get"),
    (data.put, "put"),
    (data.delete, "del"),
    (data.keys, "keys"),
    (scan.scan, "scan"),
    (listing.rm, "rm"),
    (facts.check, "check"),
    (nvm.nvm, "nvm"),
    (dump.dump, "dump"),
    (dump.load, "load"),
    (restoring.restore, "restore"),
    (salvaging.salvage, "salvage"),
):
    app.command(name)(command)
app.add_typer(lab.app, name="lab")
app.add_typer(vas.app, name="vas")

app.add_typer(bench.app, name="bench", help="Compare vasmem with other stores, here.")


@app.callback()
def about() -> None:
    """Look into segments of shared memory, change and remove them.

    NAME is the name of a segment, or its URL as in file:///var/lib/shop/orders.

    Exit codes: 0 done; 1 not found, or `check` found something broken, or `salvage` lost something;
    2 wrong usage, names or types; 3 anything else that failed; 130 interrupted.
    """
