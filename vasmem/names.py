"""Names of segments are URLs: `orders` is short for `shm://orders`."""

import re
from dataclasses import dataclass

DEFAULT_BACKEND = "shm"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """A parsed name: which backend, and the part that only this backend understands."""

    backend: str
    path: str

    @property
    def url(self) -> str:
        """The full name, backend included: `shm://orders`."""
        return f"{self.backend}://{self.path}"

    def __str__(self) -> str:
        return self.path if self.backend == DEFAULT_BACKEND else self.url


def parse_name(name: str) -> Target:
    """Split a name or URL; the backend checks the rest. Raises ValueError, TypeError."""
    if not isinstance(name, str):
        raise TypeError(f"a segment's name is a str, not {type(name).__name__}")
    if match := _URL.fullmatch(name):
        return Target(match[1], match[2])
    return Target(DEFAULT_BACKEND, name)
