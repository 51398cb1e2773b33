"""Segments of several versions of the format, attached at once."""

import bz2
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PLAIN

import vasmem

sys.path.insert(0, str(Path(__file__).parent / "data"))
from golden import CONTENT

GOLDEN = Path(__file__).parent / "data" / "golden.bz2"

# Offsets of words in the header, and of its second copy.
FORMAT, INCOMPATIBLE, READ_COMPATIBLE, CHECKSUM = 8, 16, 24, 248
MIRROR = 4096
WORD = 2**64


def checksum(words: list[int]) -> int:
    """That of the header, as docs/design.md has it; word by word."""
    total = 0
    for word in words:
        total ^= word
        total = (total ^ total >> 37) * 0x165667B19E3779F9 % WORD
        total ^= total >> 32
    return total


def rewrite(path: Path, at: int, value: int) -> None:
    """Change a word of both copies of the header, and their checksums."""
    with path.open("r+b") as file:
        for copy in (0, MIRROR):
            file.seek(copy)
            header = bytearray(file.read(CHECKSUM + 8))
            words = [int.from_bytes(header[i : i + 8], "little") for i in range(0, CHECKSUM, 8)]
            assert checksum(words) == int.from_bytes(header[CHECKSUM:], "little")
            words[at // 8] = value
            file.seek(copy)
            file.write(b"".join(word.to_bytes(8, "little") for word in words))
            file.write(checksum(words).to_bytes(8, "little"))


@PLAIN
def test_a_segment_of_format_1_0_beside_a_fresh_one(
    segment: vasmem.Segment, url: Callable[[str], str], home: Path
) -> None:
    fresh, name = segment, url("golden")
    vasmem.create(name).close()  # for its lock file
    (home / "golden").write_bytes(bz2.decompress(GOLDEN.read_bytes()))
    with pytest.raises(vasmem.NeedsRecovery, match=r"golden.*attach it once for writing"):
        vasmem.attach(name, readonly=True)
    with vasmem.attach(name) as golden, vasmem.attach(name, readonly=True) as reader:
        assert dict(golden["users"]) == CONTENT["users"]
        kept = {number: CONTENT["numbers"][number] for number in range(100, 300)}
        assert dict(reader["numbers"]) == kept
        assert golden["raw"][b"k"] == bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])
        fresh.hashmap("users").update(golden["users"])
        with golden.transaction(), fresh.transaction():
            golden["users"]["new"] = fresh["users"].pop("ada")
        assert reader["users"]["new"] == {"balance": 10}
        assert golden.check() == []
    vasmem.remove(name)


@pytest.mark.parametrize(
    ("at", "value", "reads", "writes", "found"),
    [
        (FORMAT, 1 | 7 << 32, True, True, ""),
        (READ_COMPATIBLE, 1 << 5, True, False, r"1\.\d with features 0x20"),
        (INCOMPATIBLE, 1 << 3, False, False, r"1\.\d with features 0x8"),
        (FORMAT, 2 | 3 << 32, False, False, r"2\.3"),
        (FORMAT, 0, False, False, r"0\.0"),
    ],
    ids=["later minor", "read-compatible feature", "incompatible feature", "later major", "none"],
)
def test_a_header_of_another_version(
    segment: vasmem.Segment, home: Path, at: int, value: int, reads: bool, writes: bool, found: str
) -> None:
    """Those who attached before go on; who comes now is told what there is and what is known."""
    said = rf"cannot attach .*test.* is of format {found}.* takes format 1, up to 1\.\d in full"
    users = segment.hashmap("users")
    users["k"] = 1
    before = int.from_bytes((home / "test").read_bytes()[at : at + 8], "little")
    rewrite(home / "test", at, value)
    for readonly, possible in ((True, reads), (False, writes)):
        if possible:
            with vasmem.attach(segment.url, readonly=readonly) as later:
                assert later["users"]["k"] == 1
                assert readonly or later["users"].add("added", 2)
        else:
            with pytest.raises(vasmem.FormatMismatch, match=said):
                vasmem.attach(segment.url, readonly=readonly)
    users["still"] = 3
    assert users["still"] == 3
    rewrite(home / "test", at, before)


def test_a_damaged_header_is_read_from_its_copy(segment: vasmem.Segment, home: Path) -> None:
    segment.hashmap("users")["k"] = 1
    with (home / "test").open("r+b") as file:
        first = file.read(16)
        file.seek(0)
        file.write(bytes(16))
    with vasmem.attach(segment.url) as again:
        assert again["users"]["k"] == 1
    with (home / "test").open("r+b") as file:
        file.write(first)
