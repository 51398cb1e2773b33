"""Backend `session`: segments in $XDG_RUNTIME_DIR, a tmpfs that goes when its user logs out.

`session://orders` is the file vasmem/orders there. Nobody but that user and root can reach it.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vasmem import BackendUnavailable
from vasmem.backends import Attributes, Opened, common
from vasmem.promises import Promises

_NAME = re.compile(rf"\w[\w.-]{{0,{common.NAME_BYTES_MAX - 1}}}", re.ASCII)


class SessionBackend:
    """Fulfils `vasmem.backends.Backend`; the files are made and paired by `common`."""

    name = "session"
    promises = Promises(kill=True, power=False, flush=False)

    def create(self, path: str, *, mode: int, fill: Callable[[Opened], None]) -> Opened:
        with _directory(path) as (directory_fd, url):
            return common.create(directory_fd, path, url, mode=mode, fill=fill)

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        with _directory(path) as (directory_fd, url):
            return common.open_pair(directory_fd, path, url, readonly=readonly, owner=owner)

    def attributes(self, path: str) -> Attributes:
        with _directory(path) as (directory_fd, url):
            return common.attributes(directory_fd, path, url)

    def list(self) -> Iterator[Attributes]:
        with _directory("any") as (directory_fd, _):
            yield from common.listing(directory_fd)

    def remove(self, path: str) -> None:
        with _directory(path) as (directory_fd, url):
            common.remove(directory_fd, path, url)


@contextmanager
def _directory(name: str) -> Iterator[tuple[int, str]]:
    """Descriptor of the directory, made where it is missing, and the URL for messages."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} cannot name a segment of a session: letters, digits and _ . - are "
            f"allowed, {common.NAME_BYTES_MAX} of them"
        )
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise BackendUnavailable("XDG_RUNTIME_DIR is not set: this is no login session")
    where = os.path.join(runtime, "vasmem")
    os.makedirs(where, mode=0o700, exist_ok=True)
    directory_fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory_fd, f"session://{name}"
    finally:
        os.close(directory_fd)
