"""Names of segments that have no directories."""

import re

from vasmem.backends.common import NAME_BYTES_MAX

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=,-]*")


def check_name(name: str, what: str) -> None:
    """Raise ValueError unless `name` can name `what`, as in "a shm segment"."""
    if not name:
        raise ValueError(f"the name of {what} is empty; write something like 'orders'")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name {what}: letters, digits and _ . @ + = , - are allowed, "
            "the first a letter, digit or _"
        )
    if len(name) > NAME_BYTES_MAX:
        raise ValueError(
            f"the name {name[:20]!r}... of {what} has {len(name)} characters; "
            f"{NAME_BYTES_MAX} are allowed"
        )
