"""What ships: the sdist, the wheel made from it, and that it works where nothing else is."""

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import vasmem

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of sdist and wheel: VASMEM_DIST where they were just built, else built here."""
    if given := os.environ.get("VASMEM_DIST"):
        return ROOT / given
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, env={"CARGO_TARGET_DIR": f"{ROOT}/target", **os.environ})
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist_names(dist: Path) -> list[str]:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def test_every_python_file_is_in_the_wheel(wheel_names: list[str]) -> None:
    backends = {f"vasmem/{path.relative_to(ROOT)}" for path in (ROOT / "backends").rglob("*.py")}
    face = {str(path.relative_to(ROOT)) for path in (ROOT / "vasmem").rglob("*.py")}
    assert {name for name in wheel_names if name.endswith(".py")} == backends | face
    assert {"vasmem/py.typed", "vasmem/_core.pyi"} <= set(wheel_names)


def test_two_extensions_and_one_package(wheel_names: list[str]) -> None:
    extensions = sorted(name.partition(".")[0] for name in wheel_names if name.endswith(".so"))
    assert extensions == ["vasmem/_core", "vasmem/bench/_floor"]
    tops = {name.partition("/")[0] for name in wheel_names}
    assert len(tops) == 2
    assert "vasmem" in tops
    assert all(top == "vasmem" or top.endswith(".dist-info") for top in tops)
    assert [name for name in wheel_names if name.endswith((".rs", ".toml"))] == []


def test_sdist_has_all_that_a_build_needs(sdist_names: list[str]) -> None:
    rust = {str(path.relative_to(ROOT)) for path in (ROOT / "core").rglob("*.rs")}
    manifests = {str(path.relative_to(ROOT)) for path in (ROOT / "core").rglob("Cargo.toml")}
    module = ROOT / "backends" / "vas" / "kmod"
    rust |= {str(path.relative_to(ROOT)) for path in module.iterdir() if path.is_file()}
    others = {"Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "pyproject.toml"}
    assert (rust | manifests | others) - set(sdist_names) == set()
    assert [name for name in sdist_names if name.startswith(("target/", "tests/", ".venv/"))] == []


def test_versions_agree(wheel: Path) -> None:
    cargo = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert cargo is not None
    assert wheel.name.split("-")[1] == vasmem.__version__ == cargo[1]


def test_works_in_a_fresh_environment(wheel: Path, tmp_path: Path, home: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    program = """
import importlib.util, json, vasmem, vasmem.backends.shm
with vasmem.create("fresh") as segment:
    segment.hashmap("users")["ada"] = {"balance": [10]}
    found = segment["users"]["ada"]
vasmem.remove("fresh")
print(json.dumps([vasmem.__file__, found, importlib.util.find_spec("backends") is None]))
"""
    run = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    file, found, alone = json.loads(run.stdout)
    assert file.startswith(str(tmp_path))
    assert found == {"balance": [10]}
    assert alone, "a top-level package `backends` was installed"
    assert list(home.iterdir()) == []
