"""Starting `vasmem.bench.child`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from vasmem.bench.contestants import Site


class Child:
    """One process, that says JSON lines."""

    def __init__(self, role: str, name: str, site: Site, *words: str) -> None:
        self.name = name
        arguments = [role, name, str(site.directory), str(site.records), *words]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vasmem.bench.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            text=True,
        )

    def hear(self) -> Any:
        """The next line. Raises RuntimeError if it died instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of {self.name} ended with {self.process.wait()}")
        return json.loads(line)

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Kills it if it still runs."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def started(role: str, name: str, site: Site, *words: str) -> Iterator[Child]:
    """A process that is gone afterwards."""
    child = Child(role, name, site, *words)
    try:
        yield child
    finally:
        child.end()
