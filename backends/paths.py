"""Segments that are files at absolute paths: what the backends `file` and `dax` share.

`file:///var/lib/shop/orders` is the file /var/lib/shop/orders. The path is taken literally: `%41`
in it is three characters, since a file name may hold any character and is a name, no web address.
There is no hidden register of segments: `list` looks into the directories that a variable of the
environment names, separated by colons, and takes for a segment what has its lock file beside it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from vasmem.backends import common
from vasmem.backends.base import Attributes, Opened
from vasmem.errors import PermissionDenied, SegmentNotFound

# A directory of a group is that of people who trust each other; one of all the world is not.
WRITABLE_FOR_ALL = 0o002


class PathBackend:
    """All of a backend but its name and its promises."""

    name: str
    directories_variable: str

    def create(self, path: str, *, mode: int, fill: Callable[[Opened], None]) -> Opened:
        """Make a new segment at that path; its directory must be there."""
        with self.directory(path) as (directory_fd, name, url):
            made = self.make(directory_fd, name, url, mode, fill)
            try:
                os.fsync(directory_fd)  # the name, too, is there after a power failure
            except BaseException:
                made.close()
                raise
            return made

    def make(
        self, directory_fd: int, name: str, url: str, mode: int, fill: Callable[[Opened], None]
    ) -> Opened:
        """Make it in that directory."""
        return common.create(directory_fd, name, url, mode=mode, fill=fill)

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        """Open the segment at that path."""
        with self.directory(path) as (directory_fd, name, url):
            return common.open_pair(directory_fd, name, url, readonly=readonly, owner=owner)

    def attributes(self, path: str) -> Attributes:
        """Attributes of the segment at that path."""
        with self.directory(path) as (directory_fd, name, url):
            return _under(os.path.dirname(path), common.attributes(directory_fd, name, url))

    def list(self) -> Iterator[Attributes]:
        """The segments in the directories that are named; those that are missing have none."""
        for where in filter(None, os.environ.get(self.directories_variable, "").split(":")):
            try:
                with self.directory(os.path.join(where, "any")) as (directory_fd, _, _):
                    for found in common.listing(directory_fd, locked_only=True):
                        yield _under(where, found)
            except (SegmentNotFound, PermissionDenied):
                continue

    def remove(self, path: str) -> None:
        """Delete the file; those who have it attached go on."""
        with self.directory(path) as (directory_fd, name, url):
            common.remove(directory_fd, name, url)

    @contextmanager
    def directory(self, path: str) -> Iterator[tuple[int, str, str]]:
        """Descriptor of the path's directory, the file's name in it, and the URL for messages."""
        where, name = _split(self.name, path)
        url = f"{self.name}://{path}"
        try:
            directory_fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise SegmentNotFound(
                f"{url} is nowhere: there is no directory {where}; make it first (mkdir -p)"
            ) from None
        except PermissionError:
            raise PermissionDenied(
                f"you may not look into {where}, where {url} should be"
            ) from None
        try:
            common.check_directory(directory_fd, where, WRITABLE_FOR_ALL)
            yield directory_fd, name, url
        finally:
            os.close(directory_fd)


def _under(where: str, found: Attributes) -> Attributes:
    return replace(found, path=os.path.join(where, found.path))


def _split(scheme: str, path: str) -> tuple[str, str]:
    """Directory and file name of a path that can name a segment."""
    if not path.startswith("/"):
        example = f"{scheme}://" + os.path.abspath(path.split("\0")[0] or "orders")
        raise ValueError(
            f"{scheme}://{path} cannot name a segment: its path must be absolute and on this host, "
            f"with three slashes as in {example}"
        )
    where, name = os.path.split(path)
    if "\0" in path or name.startswith(".") or not name:
        raise ValueError(
            f"{path!r} cannot name a segment: a file name is needed, without a NUL in its path and "
            "not beginning with a dot"
        )
    if len(os.fsencode(name)) > common.NAME_BYTES_MAX:
        raise ValueError(
            f"the file name {name[:20]!r}... has {len(os.fsencode(name))} bytes; "
            f"{common.NAME_BYTES_MAX} are allowed"
        )
    return where, name
