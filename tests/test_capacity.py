"""The end of a tmpfs, a disk, or what a process may write: an error with figures, nothing else."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BACKENDS, PLAIN
from test_containers import MOUNTS
from test_fork import in_child

import vasmem

PROGRAM = Path(__file__).parent / "programs" / "capacity.py"
MIB = 1 << 20


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("part", ["create", "grow", "crowd", "large", "inodes"])
def test_a_full_file_system(tmp_path: Path, part: str, backend_name: str) -> None:
    command = [sys.executable, str(PROGRAM), part, backend_name, str(tmp_path)]
    run = subprocess.run([*MOUNTS, *command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def limited(limit_bytes: int, function: Callable[[], object]) -> None:
    """Run it in a process whose files may have that many bytes."""

    def child() -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        function()

    assert in_child(child) == 0


@PLAIN
def test_a_limit_on_files_does_not_kill(segment: vasmem.Segment, url: Callable[[str], str]) -> None:
    """Python ignores SIGXFSZ, so that the system's answer is an error."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    blobs = segment.hashmap("blobs", raw=True)
    blobs[b"kept"] = b"1"

    def meet_the_limit() -> None:
        with pytest.raises(vasmem.SegmentFull, match=r"ulimit -f") as caught:
            blobs[b"large"] = bytes(40 * MIB)
        assert caught.value.needed_bytes >= 40 * MIB
        with pytest.raises(vasmem.SegmentFull, match=r"nothing was changed.*ulimit -f") as caught:
            for number in range(10_000):
                blobs[b"%d" % number] = bytes(5_000)
        # A file begins with the places of writers, 16 MiB.
        assert 30 * MIB < caught.value.size_bytes + 16 * MIB <= 32 * MIB
        with pytest.raises(vasmem.SegmentFull, match=r"no room for .*new.*ulimit -f"):
            vasmem.create(url("new"), size="32M", max_size="1G")

    def be_stopped_at_once() -> None:
        with pytest.raises(vasmem.SegmentFull, match=r"no room for .*new.*ulimit -f"):
            vasmem.create(url("new"), max_size="1G")
        blobs[b"small"] = b"2"

    limited(32 * MIB, meet_the_limit)
    limited(8 * MIB, be_stopped_at_once)
    assert (blobs[b"kept"], blobs[b"small"]) == (b"1", b"2")
    blobs[b"large"] = bytes(40 * MIB)


def test_max_size(make: Callable[..., vasmem.Segment]) -> None:
    segment = make(max_size="16M")
    blobs = segment.hashmap("blobs", raw=True)
    with pytest.raises(vasmem.SegmentFull, match="larger max_size") as caught:
        blobs[b"large"] = bytes(20 * MIB)
    error = caught.value
    assert error.needed_bytes >= 20 * MIB
    assert (error.size_bytes, error.max_bytes) == (segment.size, 16 * MIB)
    with pytest.raises(vasmem.SegmentFull, match="larger max_size"):
        for number in range(10_000):
            blobs[b"%d" % number] = bytes(5_000)
    assert segment.size == 16 * MIB
    blobs[b"0"] = b"smaller"


def test_the_figures_are_always_there() -> None:
    error = vasmem.SegmentFull("made by hand")
    assert (error.needed_bytes, error.size_bytes) == (None, None)
    assert (error.max_bytes, error.free_bytes) == (None, None)
