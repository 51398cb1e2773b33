"""What can still be read of a damaged segment comes into a new one, and the rest is told."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PLAIN

import vasmem

Url = Callable[[str], str]

BOOT, MARK, MIRROR = 384, 640, 4096
HEAP = 16 << 20
ROOT = HEAP + (16 << 10)
LINE, TABLE = 64, 16 << 10
OFFSET, DESCRIPTOR, REACHABLE, LOCK, DIRECTORY = 1, 3, 5, 7, 8
HASH_DIRECTORY, HASH_RECORD, HASH_COUNT, HASH_UNIQUE = 9, 10, 11, 14

USERS = {number: {"name": "x" * (number % 90), "tags": [number, None]} for number in range(9_000)}
BLOBS = {b"%d" % number: b"%d" % number * 40 for number in range(300)}
LARGE = {f"large {number}": bytes([number]) * (5_000 << number % 5) for number in range(20)}


@pytest.fixture
def old(url: Url, home: Path) -> Iterator[Path]:
    """File of a segment with three maps, of which `users` has a directory of tables."""
    with vasmem.create(url("old"), max_size="64M") as segment:
        segment.hashmap("users").update(USERS)
        segment.hashmap("blobs", raw=True).update(BLOBS)
        segment.hashmap("large").update(LARGE)
        segment.hashmap("none")
        assert segment.check() == []
    yield home / "old"
    vasmem.remove(url("old"))


def write(path: Path, at: int, word: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(word.to_bytes(8, "little"))


def word(path: Path, at: int) -> int:
    with path.open("rb") as file:
        file.seek(at)
        return int.from_bytes(file.read(8), "little")


def reboot(path: Path, mark: int = 3) -> None:
    """As if the power had failed after a write that was not synced."""
    write(path, BOOT, 1)
    write(path, MARK, mark)


def salvaged(url: Url) -> tuple[vasmem.SalvageReport, dict[str, dict]]:
    """The report, and what the new segment holds."""
    report = vasmem.salvage(url("old"), url("new"))
    with vasmem.attach(url("new")) as segment:
        found = {name: dict(segment[name]) for name in segment}
        assert segment.check() == []
    vasmem.remove(url("new"))
    assert {row.name: row.copied for row in report.structures if row.name in found} == {
        name: len(entries) for name, entries in found.items()
    }
    assert report.lost == len(report.reasons) + sum(row.lost for row in report.structures)
    assert all(row.lost == len(row.reasons) for row in report.structures)
    return report, found


def whole(**changed: dict) -> dict[str, dict]:
    return {"users": USERS, "blobs": BLOBS, "large": LARGE, "none": {}, **changed}


def reasons(report: vasmem.SalvageReport, name: str) -> set[int]:
    (row,) = (row for row in report.structures if row.name == name)
    return {number for number, _, _ in row.reasons}


def record_of(path: Path, key: object) -> int:
    """Offset of the record of a key."""
    from vasmem import _core

    encoded = _core.encode_key(key)
    content = path.read_bytes()
    at = content.find(encoded, HEAP)
    while at % 16 != 8 or int.from_bytes(content[at - 8 : at - 6], "little") != len(encoded):
        at = content.find(encoded, at + 1)
    return at - 8


def words_to(path: Path, block: int) -> list[int]:
    """Offsets of all words that lead to a block, flagged or not; split tables keep theirs."""
    content, found = path.read_bytes(), []
    for low in (block.to_bytes(6, "little"), (block | 1).to_bytes(6, "little")):
        place = content.find(low, HEAP)
        while place >= 0:
            if place % 8 == 0:
                found.append(place)
            place = content.find(low, place + 1)
    return found


def write_words_to(path: Path, at: int, word: int) -> None:
    """Have all words that lead to a block say something else."""
    for place in words_to(path, at):
        write(path, place, word)


def entry_of_table(path: Path, key: object) -> int:
    """Offset of the directory entry of the table with this key."""
    (entry,) = (
        place
        for slot in words_to(path, record_of(path, key))
        for place in words_to(path, slot // TABLE * TABLE)
        if word(path, place) >> 48
    )
    return entry


def test_a_dirty_file_is_salvaged_after_a_reboot(url: Url, old: Path) -> None:
    reboot(old)
    if url("old").startswith("file:"):
        for readonly in (True, False):
            with pytest.raises(vasmem.NeedsRecovery, match=r"vasmem\.salvage"):
                vasmem.attach(url("old"), readonly=readonly)
    before = old.read_bytes()
    report, found = salvaged(url)
    assert found == whole()
    assert report.lost == 0
    kinds = {"users": "hashmap", "blobs": "hashmap raw", "large": "hashmap", "none": "hashmap"}
    assert {row.name: row.kind for row in report.structures} == kinds
    assert old.read_bytes() == before


@pytest.mark.parametrize("mark", [0, 1, 2, 4])
def test_whatever_the_mark_says(url: Url, old: Path, mark: int) -> None:
    reboot(old, mark)
    report, found = salvaged(url)
    assert (report.lost, found) == (0, whole())


@pytest.mark.usefixtures("old")
def test_a_sound_segment_that_is_in_use(url: Url) -> None:
    with vasmem.attach(url("old")) as segment:
        segment["users"]["one more"] = 1
        report, found = salvaged(url)
    assert (report.lost, found) == (0, whole(users={**USERS, "one more": 1}))


@pytest.mark.usefixtures("old")
def test_into_a_segment_of_another_backend(url: Url, home: Path) -> None:
    names = [f"file://{home}/new", "new"]
    for name in names:
        assert vasmem.salvage(url("old"), name, mode=0o640).lost == 0
        with vasmem.attach(name) as segment:
            assert dict(segment["large"]) == LARGE
        vasmem.remove(name)


def test_a_copy_without_a_lock_file(url: Url, old: Path, home: Path) -> None:
    copy = home / "copy"
    subprocess.run(["cp", "--sparse=always", old, copy], check=True)
    assert vasmem.salvage(f"file://{copy}", url("new")).lost == 0
    vasmem.remove(url("new"))
    copy.unlink()


def test_locks_of_before_the_reboot_are_void(url: Url, old: Path) -> None:
    """Of the present incarnation they are those of a writer that has no record."""
    for slot in words_to(old, record_of(old, 77)):
        bucket = slot // LINE * LINE
        write(old, bucket, word(old, bucket) | 1 << 11 | 1)
    report, found = salvaged(url)
    assert LOCK in reasons(report, "users")
    assert 77 not in found["users"]
    assert len(found["users"]) >= len(USERS) - 7
    reboot(old)
    report, found = salvaged(url)
    assert (report.lost, found) == (0, whole())


@pytest.mark.parametrize("flipped", [8, 16, 32, 64])
def test_a_damaged_record_loses_its_key(url: Url, old: Path, flipped: int) -> None:
    """Bits of its lengths and of its key."""
    record = record_of(old, 5_000)
    at, bit = record + flipped // 64 * 8, flipped % 64
    write(old, at, word(old, at) ^ 1 << bit)
    report, found = salvaged(url)
    assert HASH_COUNT in reasons(report, "users") <= {OFFSET, HASH_RECORD, HASH_COUNT}
    assert found == whole(users={key: USERS[key] for key in USERS if key != 5_000})


def test_a_slot_that_leads_elsewhere_loses_its_key(url: Url, old: Path) -> None:
    record, other = (record_of(old, key) for key in (10, 11))
    write_words_to(old, record, word(old, words_to(old, other)[0]))
    report, found = salvaged(url)
    # Two slots of one bucket may lead to one record.
    assert reasons(report, "users") - {HASH_COUNT} <= {HASH_RECORD, HASH_UNIQUE}
    assert HASH_COUNT in reasons(report, "users")
    assert found == whole(users={key: USERS[key] for key in USERS if key != 10})


def test_a_slot_that_leads_nowhere(url: Url, old: Path) -> None:
    record = record_of(old, 10)
    kept = {slot: word(old, slot) for slot in words_to(old, record)}
    for leads in (2**64 - 2, HEAP - 8, record + 8, 64 << 20):
        for slot in kept:
            write(old, slot, leads)
        report, found = salvaged(url)
        assert found == whole(users={key: USERS[key] for key in USERS if key != 10})
        assert reasons(report, "users") <= {OFFSET, DESCRIPTOR, HASH_RECORD, HASH_COUNT}
        for slot, leads in kept.items():
            write(old, slot, leads)


def test_what_silently_vanished_is_told_by_the_counts(url: Url, old: Path) -> None:
    write_words_to(old, record_of(old, 10), 0)
    report, found = salvaged(url)
    assert reasons(report, "users") == {HASH_COUNT}
    assert len(found["users"]) == len(USERS) - 1


def test_a_table_that_is_lost_takes_its_keys(url: Url, old: Path) -> None:
    """All others are read, and each key of theirs is there."""
    write(old, entry_of_table(old, 10), (1 << 53) | 64)
    report, found = salvaged(url)
    assert {OFFSET, HASH_DIRECTORY} <= reasons(report, "users")
    assert 10 not in found["users"]
    assert 0 < len(found["users"]) < len(USERS)
    assert all(USERS[key] == value for key, value in found["users"].items())


def test_depths_of_the_directory_are_not_believed(url: Url, old: Path) -> None:
    at = entry_of_table(old, 10)
    write(old, at, word(old, at) ^ 7 << 48)
    report, found = salvaged(url)
    assert found == whole()
    assert reasons(report, "users") <= {HASH_DIRECTORY}


def test_two_keys_with_one_large_value(url: Url, old: Path) -> None:
    """One of them has it, whichever comes first."""
    content = old.read_bytes()
    nodes = []
    for key in ("large 0", "large 5"):
        record = record_of(old, key)
        head = int.from_bytes(content[record : record + 8], "little")
        assert head >> 16 & 1
        at = record + 8 + (head & 0xFFFF)
        nodes.append(int.from_bytes(content[at : at + 8], "little"))
    write(old, nodes[0] + 16, word(old, nodes[1] + 16))
    report, found = salvaged(url)
    assert reasons(report, "large") == {REACHABLE, HASH_COUNT}
    assert len(found["large"]) == len(LARGE) - 1


def name_record(path: Path, name: bytes) -> int:
    return path.read_bytes().find(name, HEAP) - 16


def test_a_damaged_name_loses_its_structure(url: Url, old: Path) -> None:
    record = name_record(old, b"blobs")
    write(old, record + 16, word(old, record + 16) ^ 1)
    report, found = salvaged(url)
    assert [number for number, _, _ in report.reasons] == [DIRECTORY]
    assert found == {name: entries for name, entries in whole().items() if name != "blobs"}


def test_a_structure_of_an_unknown_kind_is_told(url: Url, old: Path) -> None:
    record = name_record(old, b"blobs")
    write(old, record, word(old, record) ^ 65 ^ 200)
    report, found = salvaged(url)
    (row,) = (row for row in report.structures if row.name == "blobs")
    assert (row.kind, row.copied, row.lost) == ("unknown", 0, 1)
    assert "kind 200" in row.reasons[0][2]
    assert "blobs" not in found


def test_a_raw_map_is_not_taken_for_another(url: Url, old: Path) -> None:
    record = name_record(old, b"blobs")
    write(old, record, word(old, record) ^ 1 << 8)
    report, found = salvaged(url)
    assert reasons(report, "blobs") == {DIRECTORY}
    assert "blobs" not in found


def test_two_names_of_one_map(url: Url, old: Path) -> None:
    users, none = (name_record(old, name) for name in (b"users", b"none"))
    write(old, none + 8, word(old, users + 8))
    report, found = salvaged(url)
    assert reasons(report, "none") == reasons(report, "users") == {REACHABLE}
    assert found == {name: entries for name, entries in whole().items() if name != "none"}


def test_a_table_belongs_to_the_entry_whose_index_it_names(url: Url, old: Path) -> None:
    entries = (entry_of_table(old, key) for key in range(100))
    entry = next(at for at in entries if word(old, word(old, at) % 2**48 + 8) != 0)
    header = word(old, name_record(old, b"blobs") + 8)
    write(old, header + 32, word(old, entry))
    report, found = salvaged(url)
    assert reasons(report, "blobs") == {HASH_DIRECTORY, HASH_COUNT}
    assert found == whole(blobs={})
    assert reasons(report, "users") == set()


def test_a_root_directory_that_is_gone(url: Url, old: Path) -> None:
    with old.open("r+b") as file:
        file.seek(HEAP)
        file.write(b"\x01" * (ROOT + 4096 - HEAP))
    report, found = salvaged(url)
    assert (report.structures, found) == ([], {})
    assert report.lost == len(report.reasons) > 0


def test_a_header_that_is_gone(url: Url, old: Path) -> None:
    write(old, 48, 0)
    assert salvaged(url)[0].lost == 0
    write(old, MIRROR + 48, 0)
    with pytest.raises(vasmem.SegmentCorrupted):
        vasmem.salvage(url("old"), url("new"))
    old.write_bytes(b"no segment" * 1_000)
    with pytest.raises(vasmem.FormatMismatch):
        vasmem.salvage(url("old"), url("new"))
    with pytest.raises(vasmem.SegmentNotFound):
        vasmem.attach(url("new"))


@pytest.mark.parametrize("percent", [30, 60, 100])
def test_a_truncated_file(url: Url, old: Path, percent: int) -> None:
    bytes_left = HEAP + (old.stat().st_size - HEAP) * percent // 100
    with old.open("r+b") as file:
        file.truncate(bytes_left)
    report, found = salvaged(url)
    assert (report.lost == 0) == (percent == 100)
    for name, entries in found.items():
        assert all(whole()[name][key] == value for key, value in entries.items())


def test_the_end_that_the_header_tells_is_not_believed(url: Url, old: Path) -> None:
    for backed in (0, HEAP + (16 << 10), 2**64 - 1):
        write(old, 256, backed)
        with pytest.raises(vasmem.SegmentCorrupted, match=r"vasmem\.salvage"):
            vasmem.attach(url("old")).check()
        report, found = salvaged(url)
        assert (report.lost, found) == (0, whole())


@pytest.mark.usefixtures("old")
def test_names_that_are_taken(url: Url) -> None:
    for target in (url("old"), url("taken")):
        if target != url("old"):
            vasmem.create(target, max_size="1M").close()
        with pytest.raises(vasmem.SegmentExists):
            vasmem.salvage(url("old"), target)
    vasmem.remove(url("taken"))
    with pytest.raises(vasmem.SegmentNotFound):
        vasmem.salvage(url("nowhere"), url("new"))


@PLAIN
@pytest.mark.usefixtures("old")
def test_a_target_without_room_is_not_left(url: Url, home: Path) -> None:
    program = """
import resource, sys, vasmem
limit = (17 << 20) + (512 << 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    vasmem.salvage(*sys.argv[1:])
except vasmem.SegmentFull as error:
    print(type(error).__name__)
"""
    command = [sys.executable, "-c", program, url("old"), url("new")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "SegmentFull\n"
    assert not (home / "new").exists()


def test_the_command(url: Url, old: Path) -> None:
    import json

    from typer.testing import CliRunner

    from vasmem.cli.app import app

    reboot(old)
    done = CliRunner().invoke(app, ["salvage", url("old"), url("new")])
    assert done.exit_code == 0, done.output
    assert ["users", "hashmap", "9000", "0"] in [line.split() for line in done.output.splitlines()]
    failed = CliRunner().invoke(app, ["salvage", url("old"), url("new")])
    assert failed.exit_code == 3
    vasmem.remove(url("new"))
    write_words_to(old, record_of(old, 10), 0)
    lost = CliRunner().invoke(app, ["salvage", url("old"), url("new")])
    assert lost.exit_code == 1
    assert "8999 were copied" in lost.output
    vasmem.remove(url("new"))
    told = CliRunner().invoke(app, ["salvage", url("old"), url("new"), "--json"])
    assert told.exit_code == 1
    facts = json.loads(told.output)
    (users,) = (row for row in facts["structures"] if row["name"] == "users")
    assert (facts["lost"], users["copied"], users["lost"]) == (1, 8_999, 1)
    assert users["reasons"][0]["invariant"] == HASH_COUNT
    vasmem.remove(url("new"))
