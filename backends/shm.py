"""Backend `shm`: segments in a directory of tmpfs, which a user sees with `ls /dev/shm/vasmem`.

They survive any process and no reboot. The directory is like /tmp: anyone makes segments there,
only the owner of one removes it. VASMEM_SHM_DIR names another directory.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vasmem.backends import common
from vasmem.backends.base import Attributes, Opened
from vasmem.backends.naming import check_name
from vasmem.errors import BackendUnavailable
from vasmem.promises import Promises

DIRECTORY = "/dev/shm/vasmem"
DIRECTORY_VARIABLE = "VASMEM_SHM_DIR"
WRITABLE_FOR_OTHERS = 0o022


class ShmBackend:
    """The default backend; fulfils `vasmem.backends.base.Backend`."""

    name = "shm"
    promises = Promises(kill=True, power=False, flush=False)

    def create(self, path: str, *, mode: int, fill: Callable[[Opened], None]) -> Opened:
        """Make a new segment of that name."""
        with _directory(path) as (directory_fd, url):
            return common.create(directory_fd, path, url, mode=mode, fill=fill)

    def open(self, path: str, *, readonly: bool, owner: str | None) -> Opened:
        """Open the segment of that name."""
        with _directory(path) as (directory_fd, url):
            return common.open_pair(directory_fd, path, url, readonly=readonly, owner=owner)

    def attributes(self, path: str) -> Attributes:
        """Attributes of the segment of that name."""
        with _directory(path) as (directory_fd, url):
            return common.attributes(directory_fd, path, url)

    def list(self) -> Iterator[Attributes]:
        """All segments of the directory."""
        with _directory() as (directory_fd, _):
            yield from common.listing(directory_fd)

    def remove(self, path: str) -> None:
        """Take the segment's name away."""
        with _directory(path) as (directory_fd, url):
            common.remove(directory_fd, path, url)


@contextmanager
def _directory(name: str | None = None) -> Iterator[tuple[int, str]]:
    """Descriptor of the directory, and the URL of `name` for messages."""
    if name is not None:
        check_name(name, "a shm segment")
    with open_directory() as directory_fd:
        yield directory_fd, f"shm://{name}"


@contextmanager
def open_directory() -> Iterator[int]:
    """Descriptor of the directory, made where it is missing. Raises BackendUnavailable."""
    where = os.environ.get(DIRECTORY_VARIABLE) or DIRECTORY
    directory_fd = _open_directory(where)
    try:
        common.check_directory(directory_fd, where, WRITABLE_FOR_OTHERS)
        yield directory_fd
    finally:
        os.close(directory_fd)


def _open_directory(where: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        try:
            return os.open(where, flags)
        except FileNotFoundError:
            try:
                os.mkdir(where, common.DIRECTORY_MODE)
            except FileExistsError:
                return os.open(where, flags)
            os.chmod(where, common.DIRECTORY_MODE)  # the umask has no say here
            return os.open(where, flags)
    except OSError as error:
        raise BackendUnavailable(
            f"the directory {where} of the shm segments cannot be used ({error.strerror}); it "
            f"needs a mounted tmpfs, or name another directory in {DIRECTORY_VARIABLE}"
        ) from error
