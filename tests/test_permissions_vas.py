"""Who may use a VAS: several users, in processes of root."""

import os
from collections.abc import Callable

import vasmem

STRANGER = 65534


def test_permissions_are_those_of_files(trading: vasmem.Vas) -> None:
    def refused(attach: Callable[[], object]) -> bool:
        try:
            attach()
        except vasmem.PermissionDenied:
            return True
        return False

    def as_stranger(attach: Callable[[], object]) -> bool:
        os.seteuid(STRANGER)
        try:
            return refused(attach)
        finally:
            os.seteuid(0)

    name = trading.name
    assert as_stranger(lambda: vasmem.Vas.attach(name, readonly=True))
    trading.chmod(0o644)
    assert not as_stranger(lambda: vasmem.Vas.attach(name, readonly=True).close())
    assert as_stranger(lambda: vasmem.Vas.attach(name))
    assert as_stranger(lambda: vasmem.Vas.remove(name))
    assert as_stranger(lambda: trading.chmod(0o666))
    trading.chmod(0o666)
    assert not as_stranger(lambda: vasmem.Vas.attach(name).close())
