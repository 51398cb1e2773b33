"""A backend of somebody else: the package in examples/backend, built and installed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import check_backend

import vasmem
from vasmem import backends

SOURCE = Path(__file__).parent.parent / "examples" / "backend"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with nothing but the installed package."""
    # A build leaves files beside the sources.
    copy = shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "backend")
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, copy], check=True)
    return target


@pytest.fixture(autouse=True)
def session(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What XDG_RUNTIME_DIR is in this test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    yield home
    if (home / "vasmem").exists():
        (home / "vasmem").rmdir()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("def Toy():\n    raise RuntimeError('not today')", "RuntimeError: not today"),
        ("class Toy:\n    name = 'toy'", "is not what vasmem.backends.Backend describes"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_one_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    metadata = tmp_path / "toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[vasmem.backends]\ntoy = broken_toy:Toy\n")
    (tmp_path / "broken_toy.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("broken_toy", None)  # that of the test before
    backends.get.cache_clear()  # another test has a sound one of that name
    with pytest.raises(vasmem.BackendUnavailable, match=f"'toy' of the package toy .*{said}"):
        vasmem.open("toy://orders")
    with vasmem.create("orders", max_size="1G"):
        assert [info.name for info in vasmem.segments()] == ["orders"]
    vasmem.remove("orders")


def python(site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


WRITER = """
import vasmem
with vasmem.create("session://orders", mode=0o600, max_size="1G") as segment:
    segment.hashmap("users").update((number, bytes(1000)) for number in range(5_000))
    assert segment.check() == []
    assert str(segment.promises) == "kill"
"""

READER = """
import vasmem
with vasmem.attach("session://orders", readonly=True) as segment:
    print(len(segment["users"]), segment.name)
"""


def test_other_programs_find_it_by_url(site: Path, session: Path) -> None:
    python(site, "-c", WRITER)
    assert python(site, "-c", READER) == "5000 session://orders\n"
    (found,) = json.loads(python(site, "-m", "vasmem", "ls", "--json"))
    assert (found["name"], found["backend"]) == ("session://orders", "session")
    assert (session / "vasmem" / "orders").is_file()
    assert python(site, "-m", "vasmem", "check", "session://orders") == "nothing is broken\n"
    python(site, "-m", "vasmem", "rm", "session://orders")
    assert json.loads(python(site, "-m", "vasmem", "ls", "--json")) == []
    with pytest.raises(vasmem.BackendUnavailable, match="no backend is named 'session'"):
        vasmem.attach("session://orders")


def test_it_keeps_the_contract(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(site))
    assert backends.available() == ["dax", "file", "session", "shm", "vas"]
    backend = backends.get("session")
    check_backend(backend, lambda name: name, monkeypatch, tmp_path)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(vasmem.BackendUnavailable, match="no login session"):
        list(backend.list())
    assert vasmem.segments() == [], "a backend that cannot work is in nobody's way"
    backends.get.cache_clear()
