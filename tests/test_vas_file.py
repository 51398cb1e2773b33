"""VASes that are kept in files, and what is said where the kernel module is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem
from vasmem.backends.vas import calls


def test_a_line_that_was_cut_off_counts_for_nothing(trading: vasmem.Vas, home: Path) -> None:
    file = home / ".trading.vasmem.vas"
    for cut in (b'\n["discard", "shm://ord', b"\n[]\n", b"\n\xff\xfe\n", b'\n{"add": 1}\n'):
        with file.open("ab") as log:
            log.write(cut)
        assert set(trading) == {"orders", "prices"}
        trading.discard("prices")
        assert set(trading) == {"orders"}
        trading.add("prices")


def test_without_the_module_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "DEVICE", "/dev/no-vas")
    actions: tuple[Callable[[str], object], ...] = (vasmem.create, vasmem.Vas.create)
    for action in actions:
        with pytest.raises(vasmem.BackendUnavailable, match="make kmod"):
            action("vas://orders")
    assert vasmem.vases() == []
