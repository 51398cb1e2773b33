"""The machine that measures: its facts, and what else it does meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

# Cores that other processes may use before a run counts as disturbed.
OTHERS_MAX = 0.15


def cpu_seconds(pid: int) -> float:
    """What a living process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class OtherLoad:
    """How many cores processes other than this and `children` kept busy since the last look."""

    children: Sequence[int] = ()
    _last: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def look(self) -> float:
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4]) + sum(map(cpu_seconds, self.children))
        now = time.monotonic()
        old_busy, old_own, old_now = self._last
        self._last = (busy, own, now)
        if not old_now:
            return 0.0
        return max(0.0, (busy - old_busy - (own - old_own)) / (now - old_now))


def warn_of_others(cores: Sequence[float], console: Console) -> None:
    """Says so if other processes disturbed a round."""
    busy = max(cores)
    if busy > OTHERS_MAX:
        console.print(f"[red]other processes used up to {busy:.2f} cores: do not trust this run")


def first_line(pattern: str, path: str) -> str:
    """What follows the colon of the first line that begins with `pattern`; empty if none does."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(pattern)), "")


def mount_of(directory: Path) -> str:
    """File system type and options of the mount that holds a directory."""
    best = ("", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, options = line.split()[:4]
        if directory.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, f"{kind} {options}")
    return best[1]


def facts(directory: Path) -> dict[str, Any]:
    """What a reader must know to place the figures."""
    huge = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    caches = Path("/sys/devices/system/cpu/cpu0/cache")
    return {
        "cpu": first_line("model name", "/proc/cpuinfo"),
        "cores": os.cpu_count(),
        "caches": {
            (index / "level").read_text().strip()
            + (index / "type").read_text().strip()[0].lower(): (index / "size").read_text().strip()
            for index in sorted(caches.glob("index*"))
        },
        "memory": first_line("MemTotal", "/proc/meminfo"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "huge pages of shared memory": huge.read_text().strip() if huge.exists() else "unknown",
        "mount": mount_of(directory),
        "load average": os.getloadavg(),
        "packages": {name: version(name) for name in ("vasmem", "lmdb", "numpy")},
    }


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
