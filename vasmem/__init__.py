"""Named memory segments with crash-safe data structures, shared by unrelated processes."""

from vasmem import _core

__all__ = ["_core"]
