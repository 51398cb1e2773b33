"""Vas: a named set of segments that a thread can switch into."""

from __future__ import annotations

import grp
import pwd
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vasmem import _core
from vasmem.attachment import Attachment
from vasmem.backends import get
from vasmem.errors import BackendUnavailable, VasmemError
from vasmem.names import Target, parse_name
from vasmem.opening import attach, attach_or_create
from vasmem.segment import Segment

if TYPE_CHECKING:
    from vasmem.backends.spaces import Space, Spaces

MODE = 0o600
TIMEOUT_S = 10.0
# What keeps the threads outside where the processor has no protection keys.
WithoutKeys = Literal["process", "refuse"]
_handles: weakref.WeakSet[Vas] = weakref.WeakSet()


@dataclass(frozen=True)
class VasInfo:
    """What `vases` tells of one VAS; `segments` is None where the caller may not look."""

    name: str
    mode: int
    owner: str
    segments: dict[str, str] | None


class Vas(Attachment, Mapping[str, str]):
    """A named set of segments: a mapping of their names to "read-write" or "read-only".

    Made by `create`, `open` and `attach`. `vas://trading` is kept by the kernel module and holds
    its segments; a name without a scheme is kept beside the shm segments, works on every kernel
    and holds segments of any backend. Segments come and go while others are inside.
    """

    def __init__(self, target: Target, space: Space, readonly: bool) -> None:
        self._target = target
        self._space = space
        self._readonly = readonly
        self._mutex = threading.Lock()
        self._attached: dict[str, Segment] = {}
        # By protection keys where there are any.
        self._domain = _core.Domain(by_keys=True)
        self._switch: _core.Switch | None = None
        self._closed = False
        _handles.add(self)

    @classmethod
    def create(cls, name: str, *, mode: int = MODE) -> Vas:
        """Make an empty one and attach it. Raises SegmentExists, BackendUnavailable."""
        target, keeper = _keeper(name)
        return cls(target, keeper.create(target.path, mode=mode), readonly=False)

    @classmethod
    def attach(cls, name: str, *, readonly: bool = False, owner: str | None = None) -> Vas:
        """Attach the one of that name. Raises SegmentNotFound, PermissionDenied.

        Read-only takes read permission alone; its segments are attached for reading. One of a user
        other than oneself or root is accepted only if `owner` is that user's name, or "any".
        """
        target, keeper = _keeper(name)
        return cls(target, keeper.open(target.path, readonly=readonly, owner=owner), readonly)

    @classmethod
    def open(cls, name: str, *, mode: int = MODE, owner: str | None = None) -> Vas:
        """Attach the one of that name, or make it with `mode`."""
        return attach_or_create(
            name, lambda: cls.attach(name, owner=owner), lambda: cls.create(name, mode=mode)
        )

    @staticmethod
    def remove(name: str) -> None:
        """Take its name away; its segments stay. Raises SegmentNotFound, PermissionDenied."""
        target, keeper = _keeper(name)
        keeper.remove(target.path)

    @property
    def name(self) -> str:
        """The name, without `shm://`."""
        return str(self._target)

    @property
    def mode(self) -> int:
        """Its permission bits."""
        return self._space.attributes().mode

    @property
    def owner(self) -> str:
        """Name of the user who owns it."""
        return self._space.attributes().owner

    @property
    def readonly(self) -> bool:
        """Whether it was attached for reading only."""
        return self._readonly

    def chmod(self, mode: int) -> None:
        """Set its permission bits; only its owner and root may."""
        self._space.change(mode=mode, uid=-1, gid=-1)

    def chown(self, user: str | None = None, group: str | None = None) -> None:
        """Give it to another user or group, by the rules for files. Raises LookupError."""
        uid = pwd.getpwnam(user).pw_uid if user is not None else -1
        gid = grp.getgrnam(group).gr_gid if group is not None else -1
        self._space.change(mode=None, uid=uid, gid=gid)

    def add(self, segment: str, *, readonly: bool = False) -> None:
        """Make that segment a member, or change how it is one.

        It takes write permission for the VAS, and for the segment what it is added for. Raises
        SegmentNotFound, PermissionDenied; ValueError for another kind than the VAS can hold.
        """
        target = self._segment(segment)
        backend = get(target.backend)
        backend.open(target.path, readonly=readonly, owner="any").close()
        self._space.bind(target.url, readonly=readonly)

    def discard(self, segment: str) -> None:
        """Let a segment go, if it is a member. Those who are inside keep it until they close."""
        self._space.unbind(self._segment(segment).url)

    def switch(
        self, *, timeout: float = TIMEOUT_S, without_keys: WithoutKeys = "process"
    ) -> _core.Switch:
        """A context manager, inside of which this thread can use the segments, and others not.

        It gives the segments by name, which are attached when first used. Inside of another one
        that one is left for the time. Rights are the thread's: a thread that was started before
        has none, and using a segment raises NotSwitchedIn. `timeout` in seconds bounds the wait
        for a protection key, LockTimeout. A processor without keys opens the segments to all
        threads of the process while one is inside, or with "refuse" raises BackendUnavailable.
        """
        if self._switch is not None and timeout == TIMEOUT_S and without_keys == "process":
            return self._switch
        if without_keys not in ("process", "refuse"):
            raise ValueError(f"without_keys is 'process' or 'refuse', not {without_keys!r}")
        if without_keys == "refuse" and not _core.has_keys():
            raise BackendUnavailable(
                "this processor or kernel has no protection keys (flags pku and ospke in "
                "/proc/cpuinfo), so threads cannot be kept apart; without_keys='process' keeps "
                "them out while no thread is inside"
            )
        made = _core.Switch(self._domain, SwitchedIn(self), timeout)
        if timeout == TIMEOUT_S and without_keys == "process":
            self._switch = made
        return made

    def on_signal(self, number: int, handler: Callable[[int, Any], object]) -> Any:
        """Run a Python handler of a signal switched in; what handled it before is returned.

        The main thread runs it, as all of them. A handler in native code runs outside.
        """

        def run(signal_number: int, frame: Any) -> None:
            with self.switch():
                handler(signal_number, frame)

        return signal.signal(number, run)

    @property
    def is_active(self) -> bool:
        """Whether this thread is switched in, and in no other one since."""
        return self._domain.is_current()

    def _segment(self, name: str) -> Target:
        """A segment's name; without a scheme it is one of the keeper's own kind."""
        return parse_name(name if "://" in name else f"{self._target.backend}://{name}")

    def _shown(self, url: str) -> str:
        return url.removeprefix(f"{self._target.backend}://")

    def _enter(self, name: str) -> Segment:
        """The segment of that name, attached through this VAS."""
        url = self._segment(name).url
        members = self._space.members()
        if url not in members:
            raise KeyError(name)
        with self._mutex:
            if self._closed:
                raise VasmemError(f"the VAS {self.name!r} is closed here: attach it again")
            if url not in self._attached:
                segment = attach(url, readonly=members[url] or self._readonly, owner="any")
                self._domain.adopt(segment._core)
                self._attached[url] = segment
            return self._attached[url]

    def close(self) -> None:
        """End this attachment and those of its segments. Closing twice does nothing."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            attached, self._attached = self._attached, {}
        for segment in attached.values():
            segment.close()
        self._space.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()

    def __getitem__(self, name: str) -> str:
        readonly = self._space.members()[self._segment(name).url]
        return "read-only" if readonly else "read-write"

    def __iter__(self) -> Iterator[str]:
        return iter([self._shown(url) for url in self._space.members()])

    def __len__(self) -> int:
        return len(self._space.members())

    def __repr__(self) -> str:
        return f"<Vas {self.name!r}>"


class SwitchedIn(Mapping[str, Segment]):
    """What `with vas.switch()` gives: the segments of a VAS by name."""

    def __init__(self, vas: Vas) -> None:
        self._vas = vas

    def __getitem__(self, name: str) -> Segment:
        return self._vas._enter(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._vas)

    def __len__(self) -> int:
        return len(self._vas)


def vases() -> list[VasInfo]:
    """All VASes that exist now, those of the kernel if it has the module."""
    found = []
    for scheme, keeper in _keepers().items():
        try:
            attributes = list(keeper().list())
        except BackendUnavailable:
            continue
        for each in attributes:
            name = str(Target(scheme, each.path))
            found.append(VasInfo(name, each.mode, each.owner, _members(name)))
    return found


def active_vas() -> Vas | None:
    """The VAS that this thread is switched into, None outside of all."""
    return next((vas for vas in list(_handles) if vas.is_active), None)


def _members(name: str) -> dict[str, str] | None:
    try:
        with Vas.attach(name, readonly=True, owner="any") as vas:
            return dict(vas)
    except VasmemError:
        return None


def _keepers() -> dict[str, type[Spaces]]:
    # Loaded when they are used, as most programs use no VAS.
    from vasmem.backends.spaces import ShmSpaces
    from vasmem.backends.vas.spaces import KernelSpaces

    return {"shm": ShmSpaces, "vas": KernelSpaces}


def _keeper(name: str) -> tuple[Target, Spaces]:
    target = parse_name(name)
    keeper = _keepers().get(target.backend)
    if keeper is None:
        raise ValueError(
            f"{name!r} cannot name a VAS: write 'trading', or 'vas://trading' for one that the "
            "kernel module keeps"
        )
    return target, keeper()
