"""Whose segments are accepted, and what to do where permission is missing."""

import os
import pwd
import stat

from vasmem.errors import PermissionDenied

ANY_OWNER = "any"


def user_name(uid: int) -> str:
    """Name of that user; the uid as text where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_owner(found: os.stat_result, url: str, owner: str | None) -> None:
    """Nobody is lured into another user's segment of an expected name."""
    if found.st_uid in (os.geteuid(), 0) or owner == ANY_OWNER:
        return
    name = user_name(found.st_uid)
    if owner not in (name, str(found.st_uid)):
        expected = f"not to {owner}" if owner else f"not to you ({user_name(os.geteuid())}) or root"
        raise PermissionDenied(
            f"{url} belongs to {name}, {expected}; if you trust {name}, say owner={name!r}"
        )


def denied(directory_fd: int, name: str, url: str, readonly: bool) -> PermissionDenied | None:
    """The error for a segment that may not be opened; None if it is gone by now."""
    try:
        found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    advice = "ask its owner for permission (mode= when creating it)"
    if not readonly and os.access(name, os.R_OK, dir_fd=directory_fd, effective_ids=True):
        advice = "attach it with readonly=True, which you may, or " + advice
    return PermissionDenied(
        f"{url} belongs to {user_name(found.st_uid)} with mode {stat.S_IMODE(found.st_mode):04o} "
        f"and {user_name(os.geteuid())} may not {'read' if readonly else 'write'} it; {advice}"
    )
