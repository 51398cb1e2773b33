"""Making, attaching and removing segments by name: the one caller of backends."""

from __future__ import annotations

import atexit
import copyreg
from collections.abc import Callable
from dataclasses import astuple
from typing import Any, TypeAlias, TypeVar

from vasmem import _core, backends
from vasmem.backends import Opened
from vasmem.emulation import Emulate, wants_emulation
from vasmem.errors import SegmentExists, SegmentNotFound, VasmemError
from vasmem.huge import HugePages, wants_huge_pages
from vasmem.names import Target, parse_name
from vasmem.promises import Promise, Promises
from vasmem.segment import Segment
from vasmem.sizes import parse_size

SIZE = "1M"
SIZE_MAX = "64G"
MODE = 0o600
# An Emulation as the core takes it.
Model: TypeAlias = "tuple[int, int, int]"
_TRIES_MAX = 100
T = TypeVar("T")
# A program that ends without closing leaves its files clean all the same.
atexit.register(_core.leave_all)


def create(
    name: str,
    *,
    size: int | str = SIZE,
    max_size: int | str = SIZE_MAX,
    mode: int = MODE,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
    emulate: Emulate = False,
    guard: bool = False,
) -> Segment:
    """Make a segment and attach it. Raises SegmentExists.

    `size` bytes are backed at once, more as needed up to `max_size`; both also as text ("64M").
    `mode` is its permission bits, whatever the umask. `promise` is what it must survive, "kill"
    or "power": BackendUnavailable where the backend does not promise that. `huge_pages` "try" asks
    for pages of 2 MiB, which make large maps faster, and "never" does not; `info()["huge"]` tells
    how many came. `emulate` makes a segment of `dax` without persistent memory: True, a preset as
    "optane-100", or an Emulation. `guard` is as for `attach`.
    """
    target, backend, model = find(name, promise, emulate)
    wants_huge_pages(huge_pages)
    size_bytes, max_size_bytes = parse_size(size), parse_size(max_size)
    if size_bytes > max_size_bytes:
        raise ValueError(f"size {size} of {target} is above its max_size {max_size}")
    promises = backend.promises

    def fill(made: Opened) -> None:
        _core.Segment.format(
            made.fd,
            name=str(target),
            size=size_bytes,
            max_size=max_size_bytes,
            flush=promises.flush,
            marked=promises.marked,
            huge=wants_huge_pages(huge_pages),
            media_fd=made.media_fd,
            model=model,
        )

    opened = backend.create(target.path, mode=mode, fill=fill)
    return _attached(target, opened, promises, readonly=False, huge_pages=huge_pages, guard=guard)


def attach(
    name: str,
    *,
    readonly: bool = False,
    owner: str | None = None,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
    emulate: Emulate = False,
    guard: bool = False,
) -> Segment:
    """Attach an existing segment. Raises SegmentNotFound, PermissionDenied.

    Read-only takes no more than read permission and never disturbs writers. A segment of a user
    other than oneself or root is accepted only if `owner` is that user's name, or "any".
    `huge_pages` is as for `create`; it is about what this process will grow the segment by.
    A segment that is emulated needs no `emulate`; with it, one that was copied here becomes so.
    With `guard` no stray write of this program can change the segment: every address that anybody
    is told can only be read, and a write there is a SIGSEGV. Views of arrays are read-only then.
    """
    target, backend, model = find(name, promise, emulate)
    wants_huge_pages(huge_pages)
    opened = backend.open(target.path, readonly=readonly, owner=owner)
    promises = opened.promises or backend.promises
    try:
        promises.require(promise, target.url)
    except BaseException:
        opened.close()
        raise
    return _attached(
        target,
        opened,
        promises,
        readonly=readonly,
        huge_pages=huge_pages,
        guard=guard,
        model=model,
    )


def open(
    name: str,
    *,
    size: int | str = SIZE,
    max_size: int | str = SIZE_MAX,
    mode: int = MODE,
    owner: str | None = None,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
    emulate: Emulate = False,
    guard: bool = False,
) -> Segment:
    """Attach the segment of that name, or make it with `size`, `max_size` and `mode`.

    What exists keeps its own sizes and mode.
    """
    return attach_or_create(
        name,
        lambda: attach(
            name,
            owner=owner,
            promise=promise,
            huge_pages=huge_pages,
            emulate=emulate,
            guard=guard,
        ),
        lambda: create(
            name,
            size=size,
            max_size=max_size,
            mode=mode,
            promise=promise,
            huge_pages=huge_pages,
            emulate=emulate,
            guard=guard,
        ),
    )


def attach_or_create(name: str, attaching: Callable[[], T], creating: Callable[[], T]) -> T:
    """What one of them gives; starts over while others create and remove that name."""
    for _ in range(_TRIES_MAX):
        try:
            return attaching()
        except SegmentNotFound:
            pass
        try:
            return creating()
        except SegmentExists:
            pass
    raise VasmemError(f"{name!r} is created and removed by others all the time; try again later")


def remove(name: str) -> None:
    """Take a segment's name away; those inside go on, and its memory goes with the last of them.

    Raises SegmentNotFound, PermissionDenied.
    """
    target, backend, _ = find(name)
    backend.remove(target.path)


def find(
    name: str, promise: Promise | None = None, emulate: Emulate = False
) -> tuple[Target, backends.Backend, Model | None]:
    """The backend of a name, which must keep `promise`, and the latency model to emulate.

    Raises ValueError, BackendUnavailable.
    """
    target = parse_name(name)
    emulated, emulation = wants_emulation(emulate, target.backend)
    backend = backends.get(target.backend, emulate=emulated)
    backend.promises.require(promise, target.url)
    return target, backend, astuple(emulation) if emulation else None


def _attached(
    target: Target,
    opened: Opened,
    promises: Promises,
    *,
    readonly: bool,
    huge_pages: HugePages,
    guard: bool,
    model: Model | None = None,
) -> Segment:
    """Attach by descriptors, and close them: the core keeps its own."""
    try:
        core = _core.Segment(
            opened.fd,
            opened.lock_fd,
            name=str(target),
            readonly=readonly,
            flush=promises.flush,
            marked=promises.marked,
            huge=wants_huge_pages(huge_pages),
            eadr=promises.eadr,
            media_fd=opened.media_fd,
            model=model,
            guard=guard,
        )
    finally:
        opened.close()
    return Segment(target, core, promises)


def _reattach(url: str, uuid: bytes, readonly: bool, guard: bool = False) -> Segment:
    """Attach what a pickled handle meant, not a later segment of the same name."""
    segment = attach(url, readonly=readonly, owner="any", guard=guard)
    if segment.uuid != uuid:
        segment.close()
        raise SegmentNotFound(
            f"{url} is not the segment that was pickled but a later one of that name"
        )
    return segment


def _reduce(segment: Segment) -> tuple[Any, ...]:
    return _reattach, (segment.url, segment.uuid, segment.readonly, segment.guard)


copyreg.pickle(Segment, _reduce)
