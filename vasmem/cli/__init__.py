"""The command `vasmem`; its parts are imported when it runs, with typer and rich (extra `cli`)."""

import sys


def main() -> None:
    """Run the command line and exit; without its libraries say how to install them, and exit 2."""
    try:
        from vasmem.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        print(
            f"vasmem: the command line needs {error.name}; install it: pip install 'vasmem[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    app(prog_name="vasmem")
