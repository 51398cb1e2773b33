"""The exceptions: what each one also is."""

import pickle

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
