"""A segment's file that is copied elsewhere, closed or in use (docs/faults.md, F10 to F13)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_lifecycle_format import FORMAT, rewrite

import vasmem

Make = Callable[..., vasmem.Segment]
Url = Callable[[str], str]


@pytest.fixture
def closed(make: Make) -> vasmem.Segment:
    segment = make("orders")
    segment.hashmap("users").update((number, "x" * 100) for number in range(1_000))
    segment.close()
    return segment


def test_a_copy_of_a_closed_one_attaches(closed: vasmem.Segment, url: Url, home: Path) -> None:
    """F10."""
    command = ["cp", "--sparse=always", str(home / "orders"), str(home / "copy")]
    subprocess.run(command, check=True)
    with vasmem.attach(url("copy"), readonly=True) as reader:
        assert len(reader["users"]) == 1_000
    with vasmem.attach(url("copy")) as copy, vasmem.attach(closed.url) as original:
        assert copy.uuid == original.uuid
        copy["users"]["new"] = 1
        original["users"]["other"] = 2
        assert "other" not in copy["users"]
        assert copy.check() == []
        assert [info.note for info in vasmem.segments()] == [None, None]
    with vasmem.attach(url("copy")) as again:
        assert again["users"]["new"] == 1
    vasmem.remove(url("copy"))


@pytest.mark.usefixtures("closed")
def test_a_copy_from_another_machine(url: Url, home: Path) -> None:
    """F10: its last boot was another one."""
    data = bytearray((home / "orders").read_bytes())
    data[384:400] = os.urandom(16)
    (home / "copy").write_bytes(data)
    with vasmem.attach(url("copy")) as copy:
        assert len(copy["users"]) == 1_000
        assert copy.check() == []
    vasmem.remove(url("copy"))


@pytest.mark.usefixtures("closed")
def test_many_may_be_the_first(url: Url, home: Path) -> None:
    """F10."""
    shutil.copyfile(home / "orders", home / "copy")
    program = "import sys, vasmem; vasmem.attach(sys.argv[1])['users'][sys.argv[2]] = 1"
    runs = [
        subprocess.Popen([sys.executable, "-c", program, url("copy"), str(number)])
        for number in range(4)
    ]
    assert [run.wait() for run in runs] == [0] * 4
    with vasmem.attach(url("copy")) as copy:
        assert len(copy["users"]) == 1_004
    vasmem.remove(url("copy"))


def test_a_copy_of_one_in_use_is_refused(make: Make, url: Url, home: Path) -> None:
    """F11: it may be torn, which nothing else would tell."""
    segment = make("orders")
    segment.hashmap("users")["ada"] = 1
    shutil.copyfile(home / "orders", home / "copy")
    with pytest.raises(vasmem.NeedsRecovery, match="copied while the original was in use"):
        vasmem.attach(url("copy"))
    report = vasmem.salvage(url("copy"), url("saved"))
    assert report.lost == 0
    (home / "copy").unlink()
    vasmem.remove(url("saved"))


def test_a_lost_lock_file_is_not_made_anew(closed: vasmem.Segment, home: Path) -> None:
    """F12: somebody may hold locks in it."""
    (lock,) = home.glob(".orders.*.vasmem.lock")
    lock.rename(home / "lost")
    with pytest.raises(vasmem.FormatMismatch, match="lost its lock file"):
        vasmem.attach(closed.url)
    (home / "lost").rename(lock)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, int.from_bytes(b"\x1a\n\rMSAV\x89", "little"), "other byte order"),
        (0, int.from_bytes(b"SQLite f", "little"), "not a vasmem segment"),
        (FORMAT, 99, "of format 99.0"),
    ],
)
def test_a_file_of_another_format_is_named(
    url: Url, home: Path, at: int, value: int, text: str
) -> None:
    """F13."""
    shutil.copyfile(home / "orders", home / "copy")
    rewrite(home / "copy", at, value)
    with pytest.raises(vasmem.FormatMismatch, match=text):
        vasmem.attach(url("copy"))
    (home / "copy").unlink()
