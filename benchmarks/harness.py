"""What the benchmarks of this folder share: builds of the core, and files of results."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import vasmem

HERE = Path(__file__).resolve().parent
# Where vasmem keeps segments of backend shm.
SEGMENTS = Path(os.environ.get("VASMEM_SHM_DIR", "/dev/shm/vasmem"))
RESULTS = Path(os.environ.get("VASMEM_BENCHMARK_RESULTS", HERE / "results"))


def load_native(name: str, path: Path) -> ModuleType:
    """Imports an extension module from a path, whatever its file is called."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, str(path), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def build(*arguments: str) -> None:
    """Runs cargo, for this interpreter."""
    # Past the links, whose spelling differs with how Python was started: no needless rebuild.
    interpreter = str(Path(sys.executable).resolve())
    # PYO3_BUILD_EXTENSION_MODULE is what setuptools-rust says, too.
    ours = {"PYO3_PYTHON": interpreter, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    subprocess.run(["cargo", *arguments], check=True, env={**os.environ, **ours})


def build_core(path: Path, *features: str) -> None:
    """Builds the extension of this checkout as its wheel does, with these features, to `path`."""
    target = HERE.parent / "target" / "benchmarks"
    # One crate type and no other: with two, cargo leaves link-time optimisation out.
    arguments = ["rustc", "--quiet", "--release", "--locked", "--lib", "--crate-type", "cdylib"]
    arguments += ["--target-dir", str(target), "--features", ",".join(features)]
    build(*arguments, "--manifest-path", str(HERE.parent / "core" / "py" / "Cargo.toml"))
    shutil.copy(target / "release" / "lib_core.so", path)


def require_release(module: Any) -> Any:
    """Refuses what was built without optimisation: its figures would mean nothing."""
    if module.build_profile != "release":
        profile = module.build_profile
        raise SystemExit(f"{module.__name__} is a {profile} build; benchmarks need a release build")
    return module


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes NAME-TIME.json to RESULTS."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def newest_result(name: str) -> dict[str, Any] | None:
    """What was written last by that name."""
    paths = sorted(RESULTS.glob(f"{name}[-.]*json"))
    return json.loads(paths[-1].read_text()) if paths else None


require_release(vasmem._core)
