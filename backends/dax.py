"""Backend `dax`: segments in persistent memory, in files of a file system that is mounted with DAX.

`dax:///pmem/orders` is the file /pmem/orders. What the mount says counts for nothing: the file
itself is asked, by statx and by a mapping with MAP_SYNC. VASMEM_DAX_DIRS names the directories that
`list` looks into, separated by colons.

An *emulated* segment may be anywhere. It has a third file, `.NAME.N.vasmem.media`, which plays the
persistent medium while the segment's file plays the caches. Whoever finds that file knows that the
segment is emulated, so it needs to be said only once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vasmem import _core
from vasmem.backends import common, copies
from vasmem.backends.base import Opened
from vasmem.backends.companions import open_media
from vasmem.backends.paths import PathBackend
from vasmem.errors import BackendUnavailable, PermissionDenied
from vasmem.promises import Promises

REGIONS = Path("/sys/bus/nd/devices")


class DaxBackend(PathBackend):
    """Segments in persistent memory; fulfils `vasmem.backends.base.Backend`.

    With `emulate` new segments are emulated, and so are those that are there without being in
    persistent memory.
    """

    name = "dax"
    directories_variable = "VASMEM_DAX_DIRS"

    def __init__(self, *, emulate: bool = False) -> None:
        self._emulate = emulate

    @property
    def promises(self) -> Promises:
        """What its segments survive; all of it, or only as an emulation."""
        found = Promises(kill=True, power=True, flush=True, emulated=self._emulate)
        return found if self._emulate else replace(found, eadr=has_eadr())

    def make(
        self, directory_fd: int, name: str, url: str, mode: int, fill: Callable[[Opened], None]
    ) -> Opened:
        """Make it in that directory, which is asked first whether it can have one."""

        def fill_if_durable(made: Opened) -> None:
            if made.media_fd is None:
                ask(made.fd, url)
            fill(made)

        made = common.create(
            directory_fd, name, url, mode=mode, fill=fill_if_durable, emulated=self._emulate
        )
        return replace(made, promises=self.promises)

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        """Open the segment at that path, with its medium if it is emulated."""
        with self.directory(path) as (directory_fd, name, url):
            opened = common.open_pair(directory_fd, name, url, readonly=readonly, owner=owner)
            try:
                return self._with_medium(directory_fd, name, url, opened, readonly)
            except BaseException:
                opened.close()
                raise

    def _with_medium(
        self, directory_fd: int, name: str, url: str, opened: Opened, readonly: bool
    ) -> Opened:
        emulated = DaxBackend(emulate=True).promises
        try:
            media_fd = open_media(directory_fd, name, url, opened.fd, readonly=readonly)
        except PermissionDenied:
            if not readonly:
                raise
            return replace(opened, promises=emulated)  # who may only read needs no medium
        if media_fd is None and not self._emulate:
            ask(opened.fd, url)
            return replace(opened, promises=self.promises)
        if media_fd is None and not readonly:
            copies.add_media(
                directory_fd, name, url, opened.fd, lambda fd: _core.emulate(opened.fd, fd)
            )
            media_fd = open_media(directory_fd, name, url, opened.fd, readonly=False)
        return replace(opened, media_fd=media_fd, promises=emulated)


def ask(fd: int, url: str) -> None:
    """Raise BackendUnavailable unless the file of `fd` is in persistent memory."""
    direct, synchronous = _core.is_dax(fd)
    if synchronous:
        return
    found = (
        "its file system is accessed directly but grants no MAP_SYNC, as with virtio-pmem"
        if direct
        else "its file system grants no direct access (statx: no DAX; mmap: no MAP_SYNC)"
    )
    raise BackendUnavailable(
        f"{url} is not in persistent memory: {found}. It takes an NVDIMM, or memory set aside by "
        "the kernel's memmap=, with ext4 or xfs on its /dev/pmem0, mounted by `mount -o dax`; for "
        "trying it out without, emulate=True makes a segment that only acts as one"
    )


def has_eadr(regions: Path = REGIONS) -> bool:
    """Whether the caches of this machine survive a power failure, as every region of it says."""
    try:
        domains = [path.read_text().strip() for path in regions.glob("region*/persistence_domain")]
        count = len(list(regions.glob("region*")))
    except OSError:
        return False
    return count > 0 and domains == ["cpu_cache"] * count
