"""What makes no sense is refused, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vasmem
from vasmem import lab
from vasmem.lab import accounts, loading


@lab.workload(setup=lambda segment: segment.hashmap("m"))  # type: ignore[untyped-decorator]
def put(segment: vasmem.Segment) -> None:
    segment.hashmap("m")[1] = "one"


@pytest.mark.parametrize("options", [{"workers": 0}, {"kill_hz": 0.0}, {"seconds": 0.0}])
def test_no_storm_of_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        lab.storm(accounts.work, **options)


def test_a_kill_has_a_store_and_survivors() -> None:
    with pytest.raises(ValueError, match=r"no store 1000: put has \d+"):
        lab.kill(put, at=1000)
    with pytest.raises(ValueError, match="0 survivors"):
        lab.kill(put, survivors=0)


@pytest.mark.parametrize("options", [{"budget": 0}, {"depth": 0}, {"fault": []}])
def test_no_exploration_of_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing would be tried"):
        lab.explore(put, **options)


def test_a_plain_function_is_a_workload(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text("def put(segment):\n    segment.counter('c')\n")
    (found,) = loading.load(f"{file}:put")
    assert lab.explore(found, budget="1s", report=False).check().total.distinct > 0
    with pytest.raises(ValueError, match=r"no workload in .*name a function"):
        loading.load(str(file))
    with pytest.raises(ValueError, match="no workload 'nix'"):
        loading.load(f"{file}:nix")
