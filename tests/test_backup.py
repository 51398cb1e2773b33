"""A copy of a closed file becomes a segment again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

Make = Callable[..., vasmem.Segment]
Url = Callable[[str], str]


@pytest.fixture
def copy(make: Make, home: Path, tmp_path: Path) -> Path:
    segment = make("orders")
    users = segment.hashmap("users")
    users.update((number, "x" * 100) for number in range(3_000))
    users["large"] = b"y" * 100_000
    segment.close()
    shutil.copyfile(home / "orders", tmp_path / "copy")
    return tmp_path / "copy"


def test_a_copy_is_restored(copy: Path, url: Url) -> None:
    before = copy.read_bytes()
    with vasmem.restore(copy, url("again"), mode=0o640) as segment:
        assert len(segment["users"]) == 3_001
        assert segment["users"]["large"] == b"y" * 100_000
        segment["users"].update((-number, "z" * 3_000) for number in range(1, 3_000))
        assert segment.check() == []
        (found,) = (found for found in vasmem.segments() if found.name.endswith("again"))
        assert found.mode == 0o640
        with pytest.raises(vasmem.SegmentExists):
            vasmem.restore(copy, url("again"))
    assert copy.read_bytes() == before
    vasmem.remove(url("again"))


def test_a_copy_from_before_a_reboot(copy: Path, url: Url) -> None:
    with copy.open("r+b") as file:
        file.seek(384)
        file.write(os.urandom(16))
    with vasmem.restore(copy, url("again")) as segment:
        assert len(segment["users"]) == 3_001
    vasmem.remove(url("again"))


def test_what_is_no_segment_is_not_restored(copy: Path, url: Url, tmp_path: Path) -> None:
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.touch()
    text.write_text("text" * 10_000)
    for path in (empty, text):
        with pytest.raises(vasmem.FormatMismatch):
            vasmem.restore(path, url("again"))
    with pytest.raises(FileNotFoundError):
        vasmem.restore(tmp_path / "missing", url("again"))
    with pytest.raises(vasmem.SegmentNotFound):
        vasmem.attach(url("again"))
    assert copy.exists()


def test_the_command_restores(copy: Path, url: Url) -> None:
    from typer.testing import CliRunner

    from vasmem.cli.app import app

    done = CliRunner().invoke(app, ["restore", str(copy), url("again")])
    assert done.exit_code == 0, done.output
    assert "with 1 structures" in done.output
    failed = CliRunner().invoke(app, ["restore", str(copy), url("again")])
    assert failed.exit_code == 3
    assert "exists already" in failed.output
    vasmem.remove(url("again"))
