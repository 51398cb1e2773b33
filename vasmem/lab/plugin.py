"""The pytest plugin: the fixture `crashlab`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vasmem.lab.lab import CrashLab


@pytest.fixture
def crashlab(request: pytest.FixtureRequest) -> CrashLab:
    """Makes workloads in a test, and explores their crashes; see docs/crash-lab.md."""
    from vasmem.lab.lab import CrashLab
    from vasmem.lab.result import HOME, HOME_VARIABLE

    folder = request.config.invocation_params.dir / (os.environ.get(HOME_VARIABLE) or HOME)
    return CrashLab(f"{request.node.path}::{request.node.name}", folder)
