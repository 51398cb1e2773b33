"""Runs in the guest: what only real persistent memory can show."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem
from vasmem import _core
from vasmem.promises import Promises

Make = Callable[..., vasmem.Segment]


def flags_of_mapping(directory: Path) -> set[str]:
    """What the kernel says of the mapping of a segment in that directory."""
    text = Path("/proc/self/smaps").read_text()
    part = text[text.index(f"{directory}/") :]
    found = re.search(r"^VmFlags: (.*)$", part, re.MULTILINE)
    assert found
    return set(found[1].split())


def test_is_mapped_synchronously(make: Make, home: Path) -> None:
    segment = make()
    assert "sf" in flags_of_mapping(home), "not mapped with MAP_SYNC"
    assert segment.promises == Promises(kill=True, power=True, flush=True)
    assert segment.promises.keeps("power")
    assert _core.flush_method == "clwb"
    segment.hashmap("users")["ada"] = 1
    assert segment.hashmap("users")["ada"] == 1


def test_a_mapping_of_a_tmpfs_is_refused() -> None:
    with pytest.raises(vasmem.BackendUnavailable, match="MAP_SYNC"):
        vasmem.create("dax:///dev/shm/orders", max_size="64M")
    assert "orders" not in os.listdir("/dev/shm")


def test_an_emulation_says_so_here_too(make: Make) -> None:
    segment = make("orders", emulate=True)
    assert segment.promises.emulated
    assert not segment.promises.keeps("power")


def test_a_power_failure_cannot_be_asked_of_the_real_medium(make: Make) -> None:
    segment = make()
    segment.hashmap("users")["ada"] = 1
    with pytest.raises(vasmem.VasmemError, match="made with emulate="):
        segment.crash()
    assert segment.hashmap("users")["ada"] == 1
