"""What a file promises: whole after a power failure where it was synced or closed, else refused.

Another boot is simulated by another boot id in the header. That a page was not yet written back is
what the mark at byte 640 tells; the file is read as the disk would hold it after an fsync.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vasmem

BOOT, MARK = 384, 640
CLEAN, DIRTY = 1, 3


@pytest.fixture
def path(home: Path) -> Iterator[Path]:
    yield home / "orders"
    vasmem.remove(f"file://{home}/orders")


def word(path: Path, at: int) -> int:
    return int.from_bytes(path.read_bytes()[at : at + 8], "little")


def reboot(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(BOOT)
        file.write(bytes(range(1, 17)))


def create(path: Path) -> vasmem.Segment:
    return vasmem.create(f"file://{path}", max_size="1G")


def attach(path: Path, *, readonly: bool = False) -> vasmem.Segment:
    return vasmem.attach(f"file://{path}", readonly=readonly)


def run(path: Path, statements: str) -> None:
    """In another process, which ends without closing anything, as a killed one does."""
    program = f"import os, sys, vasmem; segment = vasmem.attach(sys.argv[1]); {statements}; "
    command = [sys.executable, "-c", program + "os._exit(0)", f"file://{path}"]
    subprocess.run(command, check=True, cwd="/")


def test_what_was_closed_is_attached_after_a_reboot(path: Path) -> None:
    with create(path) as segment:
        segment.hashmap("users")["ada"] = 1
        assert word(path, MARK) == DIRTY
    assert word(path, MARK) == CLEAN
    reboot(path)
    with pytest.raises(vasmem.NeedsRecovery, match="attach it once for writing"):
        attach(path, readonly=True)
    with attach(path) as segment:
        assert segment["users"]["ada"] == 1
        assert segment.info()["incarnation"] == 2
        segment["users"]["bob"] = 2
        assert segment.check() == []
    with attach(path, readonly=True) as reader:
        assert dict(reader["users"]) == {"ada": 1, "bob": 2}


def test_what_was_synced_is_attached_after_a_reboot(path: Path) -> None:
    create(path).close()
    run(path, "segment.hashmap('users')['ada'] = 1; segment.sync(); segment.sync()")
    reboot(path)
    with attach(path) as again:
        assert again["users"]["ada"] == 1


def test_what_was_written_since_is_refused(path: Path) -> None:
    create(path).close()
    run(path, "segment.hashmap('users'); segment.sync(); segment['users']['ada'] = 1")
    assert word(path, MARK) == DIRTY
    reboot(path)
    for readonly in (True, False):
        with pytest.raises(vasmem.NeedsRecovery, match="last synced or closed"):
            attach(path, readonly=readonly)


def test_reading_leaves_it_clean(path: Path) -> None:
    create(path).close()
    with attach(path) as segment:
        assert list(segment) == []
        with pytest.raises(KeyError):
            segment.hashmap("users", create=False)
        assert word(path, MARK) == CLEAN


def test_growth_alone_makes_it_dirty(path: Path) -> None:
    segment = create(path)
    blobs = segment.hashmap("blobs", raw=True)
    segment.sync()
    with pytest.raises(RuntimeError), segment.transaction():
        blobs[b"large"] = bytes(8 << 20)
        assert word(path, MARK) == DIRTY
        raise RuntimeError
    segment.close()


def test_only_the_last_writer_that_closes_leaves_it_clean(path: Path) -> None:
    one = create(path)
    users = one.hashmap("users")
    two = attach(path)
    one.close()
    assert word(path, MARK) == DIRTY
    two["users"]["ada"] = 1
    two.close()
    assert word(path, MARK) == CLEAN
    assert "closed" in repr(users)


def test_another_writer_after_a_sync_makes_it_dirty(path: Path) -> None:
    segment = create(path)
    segment.hashmap("users")
    segment.sync()
    run(path, "segment['users']['ada'] = 1")
    assert word(path, MARK) == DIRTY
    segment.close()
    assert word(path, MARK) == CLEAN


def test_a_sync_inside_a_transaction_covers_what_is_committed(path: Path) -> None:
    with create(path) as segment:
        users = segment.hashmap("users")
        with segment.transaction():
            users["ada"] = 1
            segment.sync()
            assert word(path, MARK) == CLEAN
        assert word(path, MARK) == DIRTY


def test_a_killed_writer_leaves_it_dirty_and_the_next_close_clean(path: Path) -> None:
    create(path).close()
    program = """
import sys, vasmem
users = vasmem.attach(sys.argv[1]).hashmap("users")
for number in range(10**9):
    users[number % 100] = number
    users.segment.sync() if number % 50 == 0 else None
    print(number, flush=True)
"""
    url = f"file://{path}"
    for _ in range(5):
        command = [sys.executable, "-c", program, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") as writer:
            assert writer.stdout is not None
            for _ in range(75):
                last = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
        with attach(path) as segment:
            assert segment["users"][last % 100] >= last
            assert segment.check() == []
        assert word(path, MARK) == CLEAN


def test_shared_memory_keeps_no_mark(home: Path) -> None:
    with vasmem.create("orders", max_size="1G") as segment:
        segment.hashmap("users")["ada"] = 1
        segment.sync()
        assert word(home / "orders", MARK) == 0
    vasmem.remove("orders")


def test_a_copy_of_a_closed_file_is_used_with_a_lock_file_of_its_own(path: Path) -> None:
    with create(path) as segment:
        segment.hashmap("users")["ada"] = 1
    copy = path.with_name("copy")
    subprocess.run(["cp", "--sparse=always", path, copy], check=True)
    reboot(copy)
    with attach(copy) as segment:
        assert dict(segment["users"]) == {"ada": 1}
        segment["users"]["bob"] = 2
        assert segment.check() == []
    with attach(path) as segment:
        assert dict(segment["users"]) == {"ada": 1}
    vasmem.remove(f"file://{copy}")
