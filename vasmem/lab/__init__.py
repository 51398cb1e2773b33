"""The crash lab: record what code does to a segment, and try what crashes leave of it.

Point it at a workload; it builds the states that a crash may leave, recovers and judges each, and
shows the smallest one that is wrong. See docs/crash-lab.md. Pictures and state machines need the
extra `lab`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vasmem.lab.case import Case as Case
    from vasmem.lab.case import compared as compared
    from vasmem.lab.faults import Damage as Damage
    from vasmem.lab.faults import Enospc as Enospc
    from vasmem.lab.faults import Kill as Kill
    from vasmem.lab.faults import Poison as Poison
    from vasmem.lab.faults import PowerCut as PowerCut
    from vasmem.lab.faults import Truncate as Truncate
    from vasmem.lab.images import crash_images as crash_images
    from vasmem.lab.judge import Invariant as Invariant
    from vasmem.lab.kills import MustProgress as MustProgress
    from vasmem.lab.kills import kill as kill
    from vasmem.lab.kills import storm as storm
    from vasmem.lab.lab import CrashLab as CrashLab
    from vasmem.lab.lab import explore as explore
    from vasmem.lab.machines import machine as machine
    from vasmem.lab.mutants import damage as damage
    from vasmem.lab.omissions import mutate as mutate
    from vasmem.lab.reading import contents as contents
    from vasmem.lab.report import write_report as write_report
    from vasmem.lab.result import CrashFound as CrashFound
    from vasmem.lab.result import Result as Result
    from vasmem.lab.trace import Trace as Trace
    from vasmem.lab.trace import record as record
    from vasmem.lab.workloads import Workload as Workload
    from vasmem.lab.workloads import workload as workload

# Where each name is; a part is imported when it is first used.
_PLACES = {
    "Case": "case",
    "CrashFound": "result",
    "CrashLab": "lab",
    "Damage": "faults",
    "Enospc": "faults",
    "Invariant": "judge",
    "Kill": "faults",
    "MustProgress": "kills",
    "Poison": "faults",
    "PowerCut": "faults",
    "Result": "result",
    "Trace": "trace",
    "Truncate": "faults",
    "Workload": "workloads",
    "compared": "case",
    "contents": "reading",
    "crash_images": "images",
    "damage": "mutants",
    "explore": "lab",
    "kill": "kills",
    "machine": "machines",
    "mutate": "omissions",
    "record": "trace",
    "storm": "kills",
    "workload": "workloads",
    "write_report": "report",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"vasmem.lab.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vasmem"):
            raise
        text = f"lab.{name} needs {error.name}; install it: pip install 'vasmem[lab]'"
        raise ModuleNotFoundError(text, name=error.name) from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
