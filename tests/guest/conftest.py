"""A computer with persistent memory for a test; without an emulator these tests are skipped."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest.kernel import Kernel, how_to_install
from guest.machine import Machine


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    if command := how_to_install():
        pytest.skip(f"no guest can be booted here; install it with: {command}")
    return Kernel.fetch()


@pytest.fixture
def machine(kernel: Kernel) -> Iterator[Machine]:
    # On a tmpfs: the guest's memory is a file, and a file on a disk is written back to it.
    directory = Path(tempfile.mkdtemp(prefix="vasmem-guest-", dir="/dev/shm"))
    yield Machine(kernel, directory)
    shutil.rmtree(directory)
