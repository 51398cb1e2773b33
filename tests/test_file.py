"""What is particular to segments in files: names, directories, listing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import vasmem
from vasmem.backends import common


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on a disk, where the other tests use memory."""
    with tempfile.TemporaryDirectory(prefix="vasmem-test-", dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.mark.parametrize("url", ["file://orders", "file://host/orders", "file://./orders"])
def test_a_path_is_absolute_and_on_this_host(url: str) -> None:
    with pytest.raises(ValueError, match="three slashes as in file:///"):
        vasmem.open(url)


def test_a_path_is_taken_literally(home: Path) -> None:
    name = "50%25 of ?a#b & ü"
    with vasmem.create(f"file://{home}/{name}", max_size="1G") as segment:
        assert (home / name).is_file()
        assert segment.url == f"file://{home}/{name}"
    vasmem.remove(f"file://{home}/{name}")


def test_the_longest_file_name(home: Path) -> None:
    name = "ü" * (common.NAME_BYTES_MAX // 2)
    vasmem.create(f"file://{home}/{name}", max_size="1G").close()
    vasmem.remove(f"file://{home}/{name}")
    with pytest.raises(ValueError, match="202 bytes; 200 are allowed"):
        vasmem.create(f"file://{home}/{name}ü")


def test_a_missing_directory_is_named(home: Path) -> None:
    for function in (vasmem.create, vasmem.attach, vasmem.remove):
        with pytest.raises(vasmem.SegmentNotFound, match=r"there is no directory .*/no/such"):
            function(f"file://{home}/no/such/orders")


def test_a_directory_in_which_anyone_swaps_files_is_refused(home: Path) -> None:
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    with pytest.raises(vasmem.BackendUnavailable, match="chmod 1777"):
        vasmem.create(f"file://{home}/open/orders")
    (home / "open").chmod(0o775)
    vasmem.create(f"file://{home}/open/orders", max_size="1G").close()
    vasmem.remove(f"file://{home}/open/orders")
    (home / "open").rmdir()


def test_a_segment_on_a_disk(disk: Path) -> None:
    url = f"file://{disk}/orders"
    with vasmem.create(url, size="2M", max_size="1G") as segment:
        users = segment.hashmap("users")
        for number in range(20_000):
            users[number] = {"balance": number}
        segment.sync()
        with vasmem.attach(url, readonly=True) as reader:
            assert reader["users"][7] == {"balance": 7}
    with vasmem.attach(url) as segment:
        assert len(segment["users"]) == 20_000
        assert segment.check() == []
    vasmem.remove(url)
    assert list(disk.iterdir()) == []


def test_only_the_named_directories_are_listed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VASMEM_SHM_DIR", str(tmp_path / "shm"))
    (home / "a").mkdir()
    (home / "b").mkdir()
    urls = [f"file://{home}/{name}" for name in ("a/one", "a/two", "b/three")]
    for url in urls:
        vasmem.create(url, max_size="1G").close()
    (home / "a" / "notes.txt").write_text("not a segment")
    (home / "a" / ".x.12345.lock").write_text("the lock file of some other program")
    assert vasmem.segments() == []
    monkeypatch.setenv("VASMEM_FILE_DIRS", f"{home}/a:{home}/missing")
    assert [info.name for info in vasmem.segments()] == urls[:2]
    monkeypatch.setenv("VASMEM_FILE_DIRS", f"{home}/a:{home}/b:")
    found = vasmem.segments()
    assert [info.name for info in found] == urls
    assert {info.backend for info in found} == {"file"}
    for url in urls:
        vasmem.remove(url)
    assert (home / "a" / ".x.12345.lock").exists()
    for left in ("a/notes.txt", "a/.x.12345.lock"):
        (home / left).unlink()
    (home / "a").rmdir()
    (home / "b").rmdir()
