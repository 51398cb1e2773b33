import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import files_of
from contract import Place, check_backend, make_segment, write_content

import vasmem
from vasmem import backends
from vasmem.backends import Backend, Opened, common, companions, nameless, owners, shm
from vasmem.promises import Promises

STRANGER = 65534


def test_contract(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_backend(backend, place, monkeypatch, tmp_path)


@pytest.fixture
def orders(backend: Backend, place: Place) -> Iterator[Backend]:
    make_segment(backend, place("orders"))
    yield backend
    backend.remove(place("orders"))


@contextmanager
def as_reader_only(path: Path) -> Iterator[None]:
    """Inside, this process may read that file and not write it."""
    if os.geteuid() != 0:
        path.chmod(0o400)
        yield
        path.chmod(0o600)
        return
    path.chmod(0o644)
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def owned_by_stranger(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Inside, the files there are another user's, who is neither us nor root."""
    if os.geteuid() == 0:
        for path in directory.iterdir():
            os.chown(path, STRANGER, -1)
        yield owners.user_name(STRANGER)
        return
    with monkeypatch.context() as patch:
        uid = os.geteuid()
        patch.setattr(os, "geteuid", lambda: uid + 1)
        yield owners.user_name(uid)


def test_registry_names_what_there_is() -> None:
    assert "shm" in backends.available()
    with pytest.raises(vasmem.BackendUnavailable, match=r"'nosuch'; there are: .*shm"):
        backends.get("nosuch")


def test_another_package_adds_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[vasmem.backends]\ntoy = toy_backend:Toy\nshm = toy_backend:Toy\n"
    )
    (tmp_path / "toy_backend.py").write_text(
        "from vasmem.backends.shm import ShmBackend\nclass Toy(ShmBackend):\n    name = 'toy'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert backends.available() == ["dax", "file", "shm", "toy", "vas"]
    assert isinstance(backends.get("toy"), Backend)
    assert type(backends.get("shm")) is shm.ShmBackend, "another package replaced our own backend"


def test_the_folder_is_no_package_of_its_own() -> None:
    source = Path(backends.__file__)
    program = (
        "import importlib.util as u, sys\ns = u.spec_from_file_location('backends', sys.argv[1])\n"
    )
    program += "s.loader.exec_module(u.module_from_spec(s))"
    run = subprocess.run(
        [sys.executable, "-c", program, str(source)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "ImportError: import this package as vasmem.backends" in run.stderr


def test_read_permission_is_enough_to_read(orders: Backend, place: Place, home: Path) -> None:
    with as_reader_only(home / "orders"):
        orders.open(place("orders"), readonly=True, owner=None).close()
        with pytest.raises(vasmem.PermissionDenied, match="readonly=True"):
            orders.open(place("orders"), readonly=False, owner=None)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, 0o600), (0o640, 0o600), (0o644, 0o600), (0o660, 0o660), (0o666, 0o666)],
)
def test_only_writers_may_open_the_lock_file(
    backend: Backend, place: Place, home: Path, mode: int, expected: int
) -> None:
    make_segment(backend, place("orders"), mode)
    (lock,) = home.glob(".orders.*.lock")
    assert lock.stat().st_mode & 0o7777 == expected
    assert lock.stat().st_uid == (home / "orders").stat().st_uid
    backend.remove(place("orders"))


def test_a_strangers_segment_is_refused(
    orders: Backend, place: Place, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owned_by_stranger(home, monkeypatch) as stranger:
        for owner in (None, "somebody"):
            with pytest.raises(vasmem.PermissionDenied, match=f"say owner='{stranger}'"):
                orders.open(place("orders"), readonly=True, owner=owner)
        for accepted in (stranger, "any"):
            orders.open(place("orders"), readonly=False, owner=accepted).close()


def test_a_lock_file_of_another_owner_is_refused(orders: Backend, place: Place, home: Path) -> None:
    (lock,) = home.glob(".orders.*.lock")
    lock.unlink()
    if os.geteuid() == 0:
        lock.touch(0o666)
        os.chown(lock, STRANGER, -1)
    else:
        lock.symlink_to("/dev/null")
    with pytest.raises((vasmem.PermissionDenied, OSError), match=r"laid it there|symbolic links"):
        orders.open(place("orders"), readonly=False, owner=None)
    orders.open(place("orders"), readonly=True, owner=None).close()


def test_a_lost_lock_file_leaves_reading(
    backend: Backend, place: Place, url: Place, home: Path
) -> None:
    vasmem.create(url("orders"), max_size="2M").close()
    (lock,) = home.glob(".orders.*.lock")
    lock.unlink()
    with pytest.raises(vasmem.FormatMismatch, match="readonly=True to save"):
        backend.open(place("orders"), readonly=False, owner=None)
    backend.open(place("orders"), readonly=True, owner=None).close()
    backend.remove(place("orders"))


def test_what_is_no_regular_file_is_no_segment(backend: Backend, place: Place, home: Path) -> None:
    (home / "folder").mkdir()
    (home / "link").symlink_to("/etc/hostname")
    os.mkfifo(home / "fifo")
    for name in ("folder", "link", "fifo"):
        for readonly in (True, False):
            with pytest.raises(vasmem.FormatMismatch, match=f"{name} is not a segment"):
                backend.open(place(name), readonly=readonly, owner=None)
        with pytest.raises(vasmem.FormatMismatch, match=f"{name} is not a segment"):
            backend.attributes(place(name))
    assert list(backend.list()) == []
    (home / "folder").rmdir()
    (home / "link").unlink()
    (home / "fifo").unlink()


def test_a_killed_creator_leaves_nothing_for_long(
    backend: Backend, place: Place, home: Path
) -> None:
    for step in ("fill", "link"):
        child = os.fork()
        if child == 0:
            try:
                die_while_creating(backend, place, step)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert not (home / "orders").exists()
        assert list(backend.list()) == []
        assert list(home.iterdir()) == []


def die_while_creating(backend: Backend, place: Place, step: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def link(directory_fd: int, fd: int, name: str, what: str) -> None:
        real_link(directory_fd, fd, name, what)
        die()

    real_link = nameless.link
    if step == "link":
        nameless.link = link
    backend.create(place("orders"), mode=0o600, fill=die if step == "fill" else write_content)


def test_the_lock_file_of_a_living_creator_is_left_alone(
    backend: Backend, place: Place, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    real_link = nameless.link

    def link(directory_fd: int, fd: int, name: str, what: str) -> None:
        real_link(directory_fd, fd, name, what)
        assert list(backend.list()) == [] or name == "orders"
        seen.append({path.name for path in home.iterdir()})

    monkeypatch.setattr(nameless, "link", link)
    made = backend.create(place("orders"), mode=0o600, fill=write_content)
    inode = os.fstat(made.fd).st_ino
    names = [
        companions.lock_name("orders", inode),
        companions.media_name("orders", inode),
        "orders",
    ]
    if made.media_fd is None:
        del names[1]
    assert seen == [set(names[: number + 1]) for number in range(len(names))]
    fcntl.flock(made.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    made.close()
    backend.remove(place("orders"))


def test_one_of_many_creators_wins(backend: Backend, place: Place, home: Path) -> None:
    barrier = threading.Barrier(8)
    won: list[Opened] = []
    lost: list[vasmem.SegmentExists] = []

    def race() -> None:
        barrier.wait()
        try:
            won.append(backend.create(place("orders"), mode=0o600, fill=write_content))
        except vasmem.SegmentExists as error:
            lost.append(error)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert len(list(home.iterdir())) == files_of(backend)
    won[0].close()
    backend.remove(place("orders"))


def test_shm_directory_is_like_tmp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = home / "fresh"
    monkeypatch.setenv(shm.DIRECTORY_VARIABLE, str(fresh))
    umask = os.umask(0o077)
    try:
        assert list(shm.ShmBackend().list()) == []
    finally:
        os.umask(umask)
    assert fresh.stat().st_mode & 0o7777 == 0o1777
    fresh.chmod(0o777)
    with pytest.raises(vasmem.BackendUnavailable, match=f"chmod 1777 {fresh}"):
        list(shm.ShmBackend().list())
    fresh.rmdir()
    monkeypatch.setenv(shm.DIRECTORY_VARIABLE, str(home / "no" / "such"))
    with pytest.raises(vasmem.BackendUnavailable, match=shm.DIRECTORY_VARIABLE):
        list(shm.ShmBackend().list())


@pytest.mark.parametrize("name", ["a/b", "a b", "-a", ".a", "a\n", "é", "a:b"])
def test_shm_names_say_what_is_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and"):
        shm.ShmBackend().open(name, readonly=True, owner=None)


def test_longest_shm_name(home: Path) -> None:
    backend = shm.ShmBackend()
    name = "x" * common.NAME_BYTES_MAX
    make_segment(backend, name)
    assert [path.name for path in home.iterdir() if path.name == name] == [name]
    backend.remove(name)
    with pytest.raises(ValueError, match="200 are allowed"):
        make_segment(backend, name + "x")


def test_promises() -> None:
    shared = Promises(kill=True, power=False, flush=False)
    emulated = Promises(kill=True, power=True, flush=True, emulated=True)
    durable = Promises(kill=True, power=True, flush=True)
    for promises in (shared, emulated, durable):
        promises.require(None, "x://y")
        promises.require("kill", "x://y")
    durable.require("power", "x://y")
    with pytest.raises(vasmem.BackendUnavailable, match=r"x://y does not promise .* power"):
        shared.require("power", "x://y")
    with pytest.raises(vasmem.BackendUnavailable, match=r"x://y \(emulated\) does not promise"):
        emulated.require("power", "x://y")
    with pytest.raises(ValueError, match="'kill' or 'power'"):
        shared.require("anything", "x://y")
    assert str(emulated) == "kill+power (emulated)"
    in_file = Promises(kill=True, power="if synced", flush=False)
    in_file.require("kill", "x://y")
    with pytest.raises(vasmem.BackendUnavailable, match=r"if it was synced, or closed"):
        in_file.require("power", "x://y")
    assert str(in_file) == "kill+power if synced"
