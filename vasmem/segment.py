"""Segment: a named region of memory with structures in it; the one caller of backends and core."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, overload

from vasmem import _core, backends
from vasmem.backends import Opened
from vasmem.errors import SegmentExists, SegmentNotFound, VasmemError, WrongType
from vasmem.hashmap import HashMap
from vasmem.huge import HugePages, huge_bytes, wants_huge_pages
from vasmem.names import Target, parse_name
from vasmem.promises import Promise, Promises
from vasmem.sizes import format_size, parse_size

SIZE = "1M"
SIZE_MAX = "64G"
MODE = 0o600
# `open` attaches or creates; it starts over when others create and remove that name meanwhile.
_TRIES_MAX = 100
# A program that ends without closing leaves its files clean all the same.
atexit.register(_core.leave_all)


class Segment(Mapping[str, HashMap[Any, Any]]):
    """An attached segment, and the mapping of its structures by name.

    Made by `create`, `open` and `attach`. `close`, or leaving the `with` block, ends it.
    """

    def __init__(self, target: Target, core: _core.Segment, promises: Promises) -> None:
        self._target = target
        self._core = core
        self._promises = promises

    @property
    def name(self) -> str:
        """The name it was attached by, without `shm://`."""
        return str(self._target)

    @property
    def url(self) -> str:
        """The full name, backend included."""
        return self._target.url

    @property
    def uuid(self) -> bytes:
        """16 bytes that no other segment has, even one of the same name."""
        return self._core.uuid

    @property
    def promises(self) -> Promises:
        """What its bytes survive."""
        return self._promises

    @property
    def size(self) -> int:
        """Bytes backed now; grows by itself up to `max_size`."""
        return self._core.size

    @property
    def max_size(self) -> int:
        """Bytes it can grow to."""
        return self._core.max_size

    @property
    def used(self) -> int:
        """Bytes in use by structures and by the segment itself."""
        return self._core.used

    @property
    def writers(self) -> int:
        """Processes that have it attached and wrote; a killed one counts until it is replaced."""
        return len(self._core.writers())

    @property
    def readonly(self) -> bool:
        """Whether it was attached for reading only."""
        return self._core.readonly

    @property
    def timeout(self) -> float:
        """Seconds an operation waits for others before it raises LockTimeout; 10 at first."""
        return self._core.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._core.timeout = seconds

    @overload
    def hashmap(
        self, name: str, *, raw: Literal[True], create: bool = True
    ) -> HashMap[bytes, bytes]: ...
    @overload
    def hashmap(
        self, name: str, *, raw: bool = False, create: bool = True
    ) -> HashMap[Any, Any]: ...
    def hashmap(self, name: str, *, raw: bool = False, create: bool = True) -> HashMap[Any, Any]:
        """Open the hash map of that name; make it if there is none and `create` is true.

        A `raw` map takes bytes to bytes and encodes nothing. Raises WrongType if the name is that
        of another kind of structure, KeyError if there is none and it may not be created.
        """
        made: HashMap[Any, Any] = HashMap(self._core, name, create, raw)
        made.segment = self
        return made

    def __getitem__(self, name: str) -> HashMap[Any, Any]:
        kind = dict(self._core.names())[name]
        if kind not in ("hashmap", "hashmap raw"):
            raise WrongType(f"{name!r} in {self.name!r} is a {kind}, newer than this vasmem")
        return self.hashmap(name, raw=kind == "hashmap raw", create=False)

    def __delitem__(self, name: str) -> None:
        """Remove a structure and free its memory. Raises KeyError."""
        self._core.remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._core.names()])

    def __len__(self) -> int:
        return len(self._core.names())

    def __contains__(self, name: object) -> bool:
        return any(name == known for known, _ in self._core.names())

    @contextmanager
    def transaction(self, timeout: float | None = None) -> Iterator[Segment]:
        """All or nothing, across structures; an exception inside undoes everything.

        Others go on reading and see nothing before the end; writers wait. `timeout` in seconds
        bounds the wait for another transaction; LockTimeout names who holds it.
        """
        self._core.begin(timeout)
        try:
            yield self
        except BaseException:
            self._core.rollback()
            raise
        self._core.commit()

    def check(self) -> list[tuple[int, str, str]]:
        """Walk everything and return what breaks which invariant: (number, place, text).

        An empty list means that all is well.
        """
        return self._core.check()

    def info(self) -> dict[str, Any]:
        """Facts for people, in plain dicts and lists; all but the sizes may change meanwhile.

        `size`, `max_size`, `used`, `incarnation`, `lanes_used` are numbers, and so is `huge`, the
        bytes that this process reaches by huge pages; `attached` is the
        number of the pids in `writers`. `structures`: dicts of `name`, `kind`, `length`, and
        `load`, the part of its slots in use. `lanes`: dicts of `lane`, `pid`, and `alive`, which is
        None for a read-only attachment. `heap`: bytes used and free, the largest free piece, and
        `classes`, dicts of blocks of one size. Walks the whole heap, and stops nobody.
        """
        facts = {"name": self.name, "backend": self._target.backend, "promises": str(self.promises)}
        return {**facts, "huge": huge_bytes(self._core.base_address), **self._core.info()}

    def sync(self) -> None:
        """Wait until all that is visible is as durable as the medium can make it."""
        self._core.sync()

    def close(self) -> None:
        """End this attachment; the segment and its name stay. Closing twice does nothing."""
        self._core.close()

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # A mapping compares by content; two attachments are the same only if they are one object.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        access = "read-only " if self.readonly else ""
        return (
            f"<Segment {self.name!r}, {access}"
            f"{format_size(self.used)} used of at most {format_size(self.max_size)}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reattach, (self.url, self.uuid, self.readonly)


def create(
    name: str,
    *,
    size: int | str = SIZE,
    max_size: int | str = SIZE_MAX,
    mode: int = MODE,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
) -> Segment:
    """Make a segment and attach it. Raises SegmentExists.

    `size` bytes are backed at once, more as needed up to `max_size`; both also as text ("64M").
    `mode` is its permission bits, whatever the umask. `promise` is what it must survive, "kill"
    or "power": BackendUnavailable where the backend does not promise that. `huge_pages` "try" asks
    for pages of 2 MiB, which make large maps faster, and "never" does not; `info()["huge"]` tells
    how many came.
    """
    target, backend = find(name, promise)
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
        )

    opened = backend.create(target.path, mode=mode, fill=fill)
    return _attached(target, opened, backend.promises, readonly=False, huge_pages=huge_pages)


def attach(
    name: str,
    *,
    readonly: bool = False,
    owner: str | None = None,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
) -> Segment:
    """Attach an existing segment. Raises SegmentNotFound, PermissionDenied.

    Read-only takes no more than read permission and never disturbs writers. A segment of a user
    other than oneself or root is accepted only if `owner` is that user's name, or "any".
    `huge_pages` is as for `create`; it is about what this process will grow the segment by.
    """
    target, backend = find(name, promise)
    wants_huge_pages(huge_pages)
    opened = backend.open(target.path, readonly=readonly, owner=owner)
    return _attached(target, opened, backend.promises, readonly=readonly, huge_pages=huge_pages)


def open(
    name: str,
    *,
    size: int | str = SIZE,
    max_size: int | str = SIZE_MAX,
    mode: int = MODE,
    owner: str | None = None,
    promise: Promise | None = None,
    huge_pages: HugePages = "try",
) -> Segment:
    """Attach the segment of that name, or make it with `size`, `max_size` and `mode`.

    What exists keeps its own sizes and mode.
    """
    for _ in range(_TRIES_MAX):
        try:
            return attach(name, owner=owner, promise=promise, huge_pages=huge_pages)
        except SegmentNotFound:
            pass
        try:
            return create(
                name,
                size=size,
                max_size=max_size,
                mode=mode,
                promise=promise,
                huge_pages=huge_pages,
            )
        except SegmentExists:
            pass
    raise VasmemError(f"{name!r} is created and removed by others all the time; try again later")


def remove(name: str) -> None:
    """Take a segment's name away; those inside go on, and its memory goes with the last of them.

    Raises SegmentNotFound, PermissionDenied.
    """
    target, backend = find(name, None)
    backend.remove(target.path)


def find(name: str, promise: Promise | None) -> tuple[Target, backends.Backend]:
    """The backend of a name, which must keep `promise`. Raises ValueError, BackendUnavailable."""
    target = parse_name(name)
    backend = backends.get(target.backend)
    backend.promises.require(promise, target.url)
    return target, backend


def _attached(
    target: Target,
    opened: Opened,
    promises: Promises,
    *,
    readonly: bool,
    huge_pages: HugePages,
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
        )
    finally:
        opened.close()
    return Segment(target, core, promises)


def _reattach(url: str, uuid: bytes, readonly: bool) -> Segment:
    """Attach what a pickled handle meant, not a later segment of the same name."""
    segment = attach(url, readonly=readonly, owner="any")
    if segment.uuid != uuid:
        segment.close()
        raise SegmentNotFound(
            f"{url} is not the segment that was pickled but a later one of that name"
        )
    return segment
