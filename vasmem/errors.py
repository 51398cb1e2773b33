"""The exceptions of vasmem. Each message says what happened, where, and what to do.

They are made by the extension, so that native code raises them without importing Python modules;
several are also what a caller of the standard library would expect, such as FileNotFoundError.
"""

from vasmem._core import (
    BackendUnavailable,
    ConflictError,
    FormatMismatch,
    LockTimeout,
    NeedsRecovery,
    NotSwitchedIn,
    PermissionDenied,
    SegmentCorrupted,
    SegmentExists,
    SegmentFull,
    SegmentNotFound,
    VasmemError,
    WrongType,
)

__all__ = [
    "BackendUnavailable",
    "ConflictError",
    "FormatMismatch",
    "LockTimeout",
    "NeedsRecovery",
    "NotSwitchedIn",
    "PermissionDenied",
    "SegmentCorrupted",
    "SegmentExists",
    "SegmentFull",
    "SegmentNotFound",
    "VasmemError",
    "WrongType",
]
