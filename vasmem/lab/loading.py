"""Workloads by the file that they are in."""

from __future__ import annotations

import importlib.util
import sys
from inspect import isfunction
from pathlib import Path
from types import ModuleType

from vasmem.lab.case import Case
from vasmem.lab.workloads import Workload


def load(place: str) -> list[Workload]:
    """Workloads of FILE.py, or the one or plain function of FILE.py:NAME. Raises ValueError."""
    file, _, name = place.partition(":")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"there is no file {file!r}: give FILE.py or FILE.py:WORKLOAD")
    module = _module(path)
    found = _workloads(module)
    if name not in found and isfunction(function := getattr(module, name or "-", None)):
        found[name] = Workload(function)
    chosen = [workload for key, workload in found.items() if not name or key == name]
    if not chosen:
        what = f"workload {name!r}" if name else "workload"
        known = ", ".join(found) or "none: make one with @lab.workload(), or name a function"
        raise ValueError(f"no {what} in {file}; there are {known}")
    return chosen


def of_case(case: Case) -> Workload | None:
    """The workload that a case is of, if its file still has it."""
    file, name = case.origin.get("file", ""), case.origin.get("workload", "")
    if "pytest" in case.origin or not Path(file).is_file():
        return None
    for workload in _workloads(_module(Path(file))).values():
        if workload.name == name:
            return workload
    return None


def _workloads(module: ModuleType) -> dict[str, Workload]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Workload)}


def _module(path: Path) -> ModuleType:
    path = path.resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    name = f"vasmem_lab_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As for a program: what stands beside it can be imported.
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
