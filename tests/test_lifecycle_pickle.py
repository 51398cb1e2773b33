"""Handles as arguments of other processes, and pickles that outlive their segment."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem

Make = Callable[..., vasmem.Segment]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(segment: vasmem.Segment, method: str) -> None:
    """By a program, since a fork server keeps the environment of the test that first needed it."""
    program = Path(__file__).parent / "programs" / "processes.py"
    run = subprocess.run(
        [sys.executable, program, segment.url, method],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert dict(segment["users"]) == {method: 3}
    assert dict(segment["others"]) == {method: False}


def test_a_copy_is_an_attachment_of_its_own(segment: vasmem.Segment) -> None:
    users = segment.hashmap("users", raw=True)
    copy = pickle.loads(pickle.dumps(users))
    copy[b"k"] = b"v"
    copy.segment.close()
    assert users[b"k"] == b"v"
    with vasmem.attach(segment.url, readonly=True) as reader:
        again = pickle.loads(pickle.dumps(reader))
        assert again.readonly
        again.close()


def test_the_segment_is_gone(make: Make) -> None:
    segment = make()
    pickles = pickle.dumps(segment), pickle.dumps(segment.hashmap("users"))
    vasmem.remove(segment.url)
    for pickled in pickles:
        with pytest.raises(vasmem.SegmentNotFound, match=f"no segment is named {segment.url}"):
            pickle.loads(pickled)
    with vasmem.create(segment.url):
        for pickled in pickles:
            with pytest.raises(vasmem.SegmentNotFound, match="a later one of that name"):
                pickle.loads(pickled)


def test_the_map_is_gone(segment: vasmem.Segment) -> None:
    pickled = pickle.dumps(segment.hashmap("users"))
    del segment["users"]
    with pytest.raises(KeyError, match="users"):
        pickle.loads(pickled)
    segment.hashmap("users", raw=True)
    with pytest.raises(vasmem.WrongType):
        pickle.loads(pickled)
