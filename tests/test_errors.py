"""The exceptions: what each one also is, and that each message names what, where and what to do."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem
from vasmem import errors


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("SegmentNotFound", FileNotFoundError),
        ("SegmentExists", FileExistsError),
        ("PermissionDenied", PermissionError),
        ("SegmentFull", MemoryError),
        ("SegmentCorrupted", Exception),
        ("FormatMismatch", Exception),
        ("WrongType", TypeError),
        ("ConflictError", Exception),
        ("LockTimeout", TimeoutError),
        ("BackendUnavailable", Exception),
        ("NeedsRecovery", Exception),
        ("NotSwitchedIn", Exception),
    ],
)
def test_tree(name: str, also: type[Exception]) -> None:
    error = getattr(errors, name)
    assert error is getattr(vasmem, name)
    assert issubclass(error, vasmem.VasmemError)
    assert issubclass(error, also)
    assert (error.__module__, error.__qualname__) == ("vasmem", name)
    assert error.__doc__
    copy = pickle.loads(pickle.dumps(error("what and where")))
    assert type(copy) is error
    assert str(copy) == "what and where"


def test_all_are_exported() -> None:
    assert set(errors.__all__) <= set(vasmem.__all__)
    assert issubclass(vasmem.VasmemError, Exception)


def not_found(segment: vasmem.Segment, _: Path) -> None:
    vasmem.attach(segment.url + "-none")


def exists(segment: vasmem.Segment, _: Path) -> None:
    vasmem.create(segment.url)


def denied(segment: vasmem.Segment, _: Path) -> None:
    segment.hashmap("users")
    with vasmem.attach(segment.url, readonly=True) as reader:
        reader["users"]["k"] = 1


def full(segment: vasmem.Segment, _: Path) -> None:
    segment.hashmap("users")["k"] = bytes(2 * segment.max_size)


def corrupted(segment: vasmem.Segment, file: Path) -> None:
    """Both copies of the header lose a bit."""
    content = file.read_bytes()
    try:
        with file.open("r+b") as damaged:
            for copy in (0, 4096):
                damaged.seek(copy + 56)
                damaged.write(b"\xff" * 8)
        vasmem.attach(segment.url)
    finally:
        file.write_bytes(content)


def mismatch(segment: vasmem.Segment, file: Path) -> None:
    content = file.read_bytes()
    try:
        file.write_bytes(bytes(len(content)))
        vasmem.attach(segment.url)
    finally:
        file.write_bytes(content)


def wrong_value(segment: vasmem.Segment, _: Path) -> None:
    segment.hashmap("users")["k"] = object()


def wrong_kind(segment: vasmem.Segment, _: Path) -> None:
    segment.hashmap("users")
    segment.hashmap("users", raw=True)


def unavailable(segment: vasmem.Segment, _: Path) -> None:
    vasmem.create(segment.url + "-none", promise="power")


def needs_recovery(segment: vasmem.Segment, file: Path) -> None:
    """As if the machine had been started again since."""
    with file.open("r+b") as header:
        header.seek(384)
        boot = header.read(16)
        header.seek(384)
        header.write(bytes(16))
        header.flush()
        try:
            vasmem.attach(segment.url, readonly=True)
        finally:
            header.seek(384)
            header.write(boot)


def timeout(segment: vasmem.Segment, _: Path) -> None:
    program = (
        "import sys, vasmem\n"
        "segment = vasmem.attach(sys.argv[1])\n"
        "segment.timeout = 0.1\n"
        "try:\n    segment.hashmap('users')\n"
        "except vasmem.LockTimeout as error:\n    print(error)"
    )
    with segment.transaction():
        command = [sys.executable, "-c", program, segment.url]
        said = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True).stdout
    raise vasmem.LockTimeout(said)


def ended(segment: vasmem.Segment, _: Path) -> None:
    segment.close()
    len(segment)


@pytest.mark.parametrize(
    ("cause", "error", "parts"),
    [
        (not_found, vasmem.SegmentNotFound, ["test-none", "vasmem.segments()", "vasmem.create()"]),
        (exists, vasmem.SegmentExists, ["test", "vasmem.attach()", "remove it"]),
        (denied, vasmem.PermissionDenied, ["test", "read-only", "readonly=False"]),
        (full, vasmem.SegmentFull, ["test", "16777216", "nothing was changed", "larger max_size"]),
        (corrupted, vasmem.SegmentCorrupted, ["test", "invariant 13", "Header", "offset", "check"]),
        (mismatch, vasmem.FormatMismatch, ["test", "not a vasmem segment", "magic number"]),
        (wrong_value, vasmem.WrongType, ["object"]),
        (wrong_kind, vasmem.WrongType, ["test", '"users"', "is not raw", "raw=False"]),
        (unavailable, vasmem.BackendUnavailable, ["test-none", "power"]),
        (needs_recovery, vasmem.NeedsRecovery, ["test", "attach it once for writing"]),
        (timeout, vasmem.LockTimeout, ["test", "process ", "python", "segment.timeout"]),
        (ended, vasmem.VasmemError, ["test", "closed", "attach it again"]),
    ],
)
def test_messages(
    make: Callable[..., vasmem.Segment],
    home: Path,
    cause: Callable[[vasmem.Segment, Path], None],
    error: type[vasmem.VasmemError],
    parts: list[str],
) -> None:
    segment = make(max_size="16M")
    with pytest.raises(error) as caught:
        cause(segment, home / "test")
    assert type(caught.value) is error
    for part in parts:
        assert part in str(caught.value)
