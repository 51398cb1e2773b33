"""Owner, group and others, as processes of several users. Needs root, as conftest.py says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import files_of
from test_fork import in_child
from users import MEMBER, OWNER, ROOT, STRANGER, TEAM, User, become, run

import vasmem
from vasmem.backends import Backend

Url = Callable[[str], str]


def create(url: str, mode: int, group: int) -> None:
    """As its owner, with a umask that would forbid everything."""

    def make() -> None:
        os.umask(0o777)
        with vasmem.create(url, mode=mode, max_size="1G") as segment:
            segment.hashmap("users")["ada"] = 1

    run(User(OWNER.name, OWNER.uid, group, OWNER.groups), make)


def files(home: Path) -> tuple[os.stat_result, os.stat_result]:
    """The segment's and its lock file's attributes."""
    (lock,) = home.glob(".orders.*.vasmem.lock")
    return (home / "orders").stat(), lock.stat()


def access(user: User, url: str) -> str:
    """What that user may do: "rw", "r" or nothing; each refusal names owner and mode."""

    def write() -> None:
        with vasmem.attach(url, owner="any") as segment:
            segment["users"].incr("writes", 1)
            assert segment.check() == []

    def read() -> int:
        with vasmem.attach(url, readonly=True, owner="any") as segment:
            return segment["users"]["ada"]

    may, refusals = "", []
    for letter, function in (("r", read), ("w", write)):
        try:
            run(user, function)
            may += letter
        except vasmem.PermissionDenied as error:
            refusals.append(str(error))
    for refusal in refusals:
        assert f"belongs to {OWNER.name} with mode 06" in refusal
        assert f"and {user.name} may not " in refusal
        assert ("attach it with readonly=True, which you may" in refusal) == (may == "r")
    return may


@pytest.mark.parametrize(
    ("mode", "member", "stranger"),
    [
        (0o600, "", ""),
        (0o640, "r", ""),
        (0o660, "rw", ""),
        (0o644, "r", "r"),
        (0o664, "rw", "r"),
        (0o666, "rw", "rw"),
    ],
    ids=lambda value: f"{value:o}" if isinstance(value, int) else None,
)
def test_mode_is_exact_and_means_what_it_says(
    url: Url, home: Path, mode: int, member: str, stranger: str
) -> None:
    create(url("orders"), mode, TEAM)
    segment, lock = files(home)
    assert segment.st_mode & 0o7777 == mode
    assert lock.st_mode & 0o7777 == (mode & 0o222 | (mode & 0o222) << 1)
    assert {(found.st_uid, found.st_gid) for found in (segment, lock)} == {(OWNER.uid, TEAM)}
    who = {OWNER: "rw", MEMBER: member, STRANGER: stranger, ROOT: "rw"}
    assert {user: access(user, url("orders")) for user in who} == who
    run(OWNER, lambda: vasmem.remove(url("orders")))


def test_a_stranger_lures_nobody(url: Url) -> None:
    """Whoever wants `orders` does not take another user's, even if its mode is for all."""
    name = url("orders")
    create(name, 0o666, OWNER.gid)
    for attach in (
        lambda: vasmem.attach(name),
        lambda: vasmem.attach(name, readonly=True),
        lambda: vasmem.attach(name, owner=STRANGER.name),
        lambda: vasmem.attach(name, owner="root"),
        lambda: vasmem.open(name),
    ):
        for user in (MEMBER, ROOT):
            said = f"belongs to {OWNER.name}, not to .*say owner='{OWNER.name}'"
            with pytest.raises(vasmem.PermissionDenied, match=said):
                run(user, lambda attach=attach: attach().close())
    for owner in (OWNER.name, str(OWNER.uid), "any"):
        run(MEMBER, lambda owner=owner: vasmem.attach(name, owner=owner).close())
    run(MEMBER, lambda: vasmem.open(name, owner=OWNER.name).close())
    run(OWNER, lambda: vasmem.remove(name))


def test_roots_segments_are_trusted(url: Url) -> None:
    vasmem.create(url("orders"), mode=0o666, max_size="1G").close()
    run(STRANGER, lambda: vasmem.attach(url("orders")).close())
    vasmem.remove(url("orders"))


def test_only_the_owner_removes(url: Url, home: Path) -> None:
    """In a directory as /tmp; who may write the segment may not take its name away."""
    create(url("orders"), 0o666, TEAM)
    for user in (MEMBER, STRANGER):
        with pytest.raises(vasmem.PermissionDenied, match=f"{OWNER.name}; only its owner or root"):
            run(user, lambda: vasmem.remove(url("orders")))
    assert access(MEMBER, url("orders")) == "rw"
    run(OWNER, lambda: vasmem.remove(url("orders")))
    assert list(home.iterdir()) == []


def test_each_user_lists_all_and_sees_inside_what_it_may_read(
    url: Url, home: Path, backend: Backend
) -> None:
    create(url("orders"), 0o640, TEAM)
    for user, sees in ((OWNER, True), (MEMBER, True), (STRANGER, False)):
        (info,) = run(user, vasmem.segments)
        assert (info.name.rpartition("/")[2], info.mode, info.owner) == (
            "orders",
            0o640,
            OWNER.name,
        )
        assert (info.used is not None, info.note is None) == (sees, sees)
        assert sees or "may not read" in info.note
    assert len(list(home.iterdir())) == files_of(backend), (
        "somebody swept a lock file that is in use"
    )
    run(OWNER, lambda: vasmem.remove(url("orders")))


def test_a_group_shares_a_setgid_directory(home: Path) -> None:
    """The segment takes the directory's group, not that of its creator."""
    shared = home / "shared"
    shared.mkdir()
    os.chown(shared, 0, TEAM)
    shared.chmod(0o2770)
    url = f"file://{shared}/orders"
    create(url, 0o660, OWNER.gid)
    segment, lock = files(shared)
    assert {(found.st_uid, found.st_gid) for found in (segment, lock)} == {(OWNER.uid, TEAM)}
    assert access(MEMBER, url) == "rw"
    with pytest.raises(vasmem.PermissionDenied, match=f"may not look into {shared}"):
        run(STRANGER, lambda: vasmem.attach(url, owner="any"))
    run(MEMBER, lambda: vasmem.remove(url))  # the directory is the group's, and not sticky
    assert list(shared.iterdir()) == []
    shared.rmdir()


def test_a_process_that_puts_off_root_keeps_what_it_has(url: Url) -> None:
    """Its children may not write: each needs a lock file of its own, which they may not open."""
    name = url("orders")
    vasmem.create(name, max_size="1G").close()

    def play() -> int:
        with vasmem.attach(name) as segment:
            counts = segment.hashmap("counts")
            become(STRANGER)
            counts.update((number, bytes(1000)) for number in range(5_000))
            with segment.transaction():
                counts["n"] = 1

            def child() -> None:
                assert counts["n"] == 1
                with pytest.raises(vasmem.PermissionDenied, match=r"orders.*since it was forked"):
                    counts["n"] = 2

            return in_child(child)

    assert run(ROOT, play) == 0
    with vasmem.attach(name) as segment:
        assert segment["counts"]["n"] == 1
        assert segment.check() == []
    vasmem.remove(name)
