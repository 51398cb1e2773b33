"""Huge pages where the system has them, and no harm where it has none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

Make = Callable[..., vasmem.Segment]


def test_asking_is_harmless(make: Make) -> None:
    segment = make(size="8M", huge_pages="try")
    blobs = segment.hashmap("blobs", raw=True)
    values = {b"%d" % number: bytes([number % 251]) * 100 for number in range(100_000)}
    blobs.update(values)
    with vasmem.attach(segment.url, readonly=True, huge_pages="try") as reader:
        assert dict(reader["blobs"]) == values
        assert reader.info()["huge"] % (2 << 20) == 0
    with vasmem.attach(segment.url) as plain:
        assert dict(plain["blobs"]) == values


@pytest.mark.parametrize("word", ["yes", True, None])
def test_only_two_words(make: Make, word: object) -> None:
    url = make().url
    for operation in (vasmem.open, vasmem.attach, vasmem.create):
        with pytest.raises(ValueError, match="'never' or 'try'"):
            operation(url if operation is not vasmem.create else url + "2", huge_pages=word)


HUGE = """
import os, subprocess, sys
import vasmem

os.environ["VASMEM_SHM_DIR"] = sys.argv[1]
for policy in ("always", "advise"):
    mount = ["mount", "-t", "tmpfs", "-o", f"huge={policy}", "none", sys.argv[1]]
    subprocess.run(mount, check=True)
    os.chmod(sys.argv[1], 0o1777)
    with vasmem.create("huge", size="8M", huge_pages="try") as segment:
        blobs = segment.hashmap("blobs", raw=True)
        for number in range(200_000):
            blobs[b"%d" % number] = b"x" * 100
        segment.size >= 16 << 20 or sys.exit("the segment did not grow")
        huge = segment.info()["huge"]
        print(policy, huge, segment.size)
        assert huge >= segment.size // 2
        assert segment.check() == []
    subprocess.run(["umount", "--lazy", sys.argv[1]], check=True)
"""


def test_they_come_where_the_mount_allows_them(tmp_path: Path) -> None:
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    command = [*unshare, sys.executable, "-c", HUGE, str(tmp_path)]
    subprocess.run(command, check=True)
