"""Where a segment's bytes come from and what they promise: the registry of backends by name.

A backend is control plane only: it turns a name into file descriptors and an honest Promises value.
Other packages add backends by an entry point of the group `vasmem.backends`, named like the scheme
of their URLs, that leads to a class without arguments fulfilling `vasmem.backends.base.Backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# The folder stands at the root of the checkout; loaded twice, its registry would exist twice.
if __name__ != "vasmem.backends":
    raise ImportError("import this package as vasmem.backends")

from vasmem.backends.base import Attributes, Backend, Opened
from vasmem.backends.dax import DaxBackend
from vasmem.backends.file import FileBackend
from vasmem.backends.shm import ShmBackend
from vasmem.errors import BackendUnavailable

__all__ = ["Attributes", "Backend", "Opened", "available", "get"]

GROUP = "vasmem.backends"


def _vas() -> Backend:
    # Imported where it is needed, as most programs use no kernel module.
    from vasmem.backends.vas import VasBackend

    return VasBackend()


# Named here and not by entry points: found without reading the metadata of every distribution, and
# not replaceable by another package.
_OWN: dict[str, Callable[[], Backend]] = {
    "shm": ShmBackend,
    "file": FileBackend,
    "dax": DaxBackend,
    "vas": _vas,
}


def _foreign() -> dict[str, EntryPoint]:
    # Imported where it is needed: it takes longer than all of vasmem.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in _OWN}


def _load(entry: EntryPoint) -> Backend:
    """A backend of others; whatever is wrong with it is in the way of nobody else."""
    package = entry.dist.name if entry.dist else entry.value
    try:
        loaded = entry.load()()
    except Exception as error:
        raise BackendUnavailable(
            f"the backend {entry.name!r} of the package {package} cannot be loaded "
            f"({type(error).__name__}: {error}); repair or uninstall that package"
        ) from error
    if not isinstance(loaded, Backend):
        raise BackendUnavailable(
            f"the backend {entry.name!r} of the package {package} is not what "
            "vasmem.backends.Backend describes; repair or uninstall that package"
        )
    return loaded


def available() -> list[str]:
    """Names of all backends, sorted; being listed does not mean that this machine can run it."""
    return sorted([*_OWN, *_foreign()])


@cache
def get(name: str, *, emulate: bool = False) -> Backend:
    """The backend of that name, one object a process. Raises BackendUnavailable.

    With `emulate`, one whose medium is emulated; ValueError if that is not `dax`.
    """
    if emulate and name != DaxBackend.name:
        raise ValueError(f"emulate= is for the backend dax; {name} has nothing to emulate")
    if emulate:
        return DaxBackend(emulate=True)
    if name in _OWN:
        return _OWN[name]()
    if entry := _foreign().get(name):
        return _load(entry)
    raise BackendUnavailable(
        f"no backend is named {name!r}; there are: {', '.join(available())}. Others come with "
        f"packages that register an entry point of the group {GROUP!r}"
    )
