"""Named memory segments with crash-safe data structures, shared by unrelated processes."""

from vasmem.backup import restore
from vasmem.btree import BTree
from vasmem.counter import Counter
from vasmem.damage import SalvagedStructure, SalvageReport, salvage
from vasmem.emulated import PowerFailure
from vasmem.emulation import Emulation
from vasmem.errors import (
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
from vasmem.hashmap import HashMap
from vasmem.listing import SegmentInfo, segments
from vasmem.lock import Lock
from vasmem.opening import attach, create, open, remove
from vasmem.promises import Promises
from vasmem.queues import Queue
from vasmem.segment import Segment
from vasmem.sets import Set
from vasmem.vas import Vas, VasInfo, active_vas, vases

__version__ = "0.1.0"

__all__ = [
    "BTree",
    "BackendUnavailable",
    "ConflictError",
    "Counter",
    "Emulation",
    "FormatMismatch",
    "HashMap",
    "Lock",
    "LockTimeout",
    "NeedsRecovery",
    "NotSwitchedIn",
    "PermissionDenied",
    "PowerFailure",
    "Promises",
    "Queue",
    "SalvageReport",
    "SalvagedStructure",
    "Segment",
    "SegmentCorrupted",
    "SegmentExists",
    "SegmentFull",
    "SegmentInfo",
    "SegmentNotFound",
    "Set",
    "Vas",
    "VasInfo",
    "VasmemError",
    "WrongType",
    "active_vas",
    "attach",
    "create",
    "open",
    "remove",
    "restore",
    "salvage",
    "segments",
    "vases",
]
