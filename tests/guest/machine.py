"""An emulated computer with persistent memory, which can lose its power.

Its memory, the persistent part included, is a file of the host. A killed emulator leaves in it
what the guest had stored, flushed or not: it shows what a crash of kernel and processes leaves,
and never a missing flush, which is what emulated segments are for.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guest.kernel import Kernel

# Persistent memory stands in the middle: firmware has the end for itself.
MEMORY_MIB, PERSISTENT_MIB, PERSISTENT_AT_MIB = 1024, 256, 256
# An emulated processor is some 20 times slower; this only ends what hangs.
SECONDS_MAX = 900


@dataclass
class Machine:
    """A computer, off at first. `directory` keeps its memory and what it exchanges."""

    kernel: Kernel
    directory: Path

    def __post_init__(self) -> None:
        self.exchange.mkdir()
        self.disk = self.kernel.memory_disk(self.directory)
        self.memory = self.directory / "memory"
        with self.memory.open("wb") as file:
            file.truncate(MEMORY_MIB << 20)
        (self.exchange / "format").touch()

    @property
    def exchange(self) -> Path:
        """A directory that both sides see: /exchange in the guest."""
        return self.directory / "exchange"

    @property
    def acknowledged(self) -> Path:
        """What the guest wrote to /dev/ttyS1."""
        return self.directory / "acknowledged"

    def run(self, command: str) -> str:
        """Boots, runs a shell command to its end, and gives its output back.

        Raises AssertionError with all that was printed if the command fails or the guest dies.
        """
        with self.running(command) as emulator:
            emulator.wait(SECONDS_MAX)
        status = self.exchange / "status"
        ended = status.read_text().strip() if status.exists() else "the guest died"
        assert ended == "0", f"{ended}\n{self.printed()}"
        return (self.exchange / "output").read_text()

    def printed(self) -> str:
        """All that the guest and its command printed so far."""
        texts = [self.directory / "console", self.exchange / "output"]
        return "\n".join(path.read_text(errors="replace") for path in texts if path.exists())

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Boots and starts a command; at the end the power fails, if it is still on."""
        (self.exchange / "command").write_text(command)
        for name in ("status", "output"):
            (self.exchange / name).unlink(missing_ok=True)
        self.acknowledged.write_bytes(b"")
        with (self.directory / "console").open("wb") as console:
            emulator = subprocess.Popen(
                self.command_line(), stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        try:
            yield emulator
        finally:
            emulator.kill()
            emulator.wait()
            (self.exchange / "format").unlink(missing_ok=True)

    def await_acknowledgements(self, emulator: subprocess.Popen[bytes], lines: int) -> None:
        """Waits until the guest has acknowledged so many lines."""
        end = time.monotonic() + SECONDS_MAX
        while self.acknowledged.read_bytes().count(b"\n") < lines:
            assert emulator.poll() is None, f"the guest ended\n{self.printed()}"
            assert time.monotonic() < end, f"too few acknowledgements\n{self.printed()}"
            time.sleep(0.05)

    def command_line(self) -> list[str]:
        # KVM is not asked for: a nested one may open and then not boot a stock kernel.
        machine = "q35,memory-backend=memory"
        file = f"memory-backend-file,id=memory,share=on,mem-path={self.memory}"
        persistent = f"memmap={PERSISTENT_MIB}M!{PERSISTENT_AT_MIB}M"
        quiet = "console=ttyS0 panic=-1 quiet mitigations=off"
        shared = "security_model=none,multidevs=remap"
        return [
            *("qemu-system-x86_64", "-accel", "tcg,tb-size=256", "-cpu", "max,la57=off"),
            *("-machine", machine, "-m", f"{MEMORY_MIB}M", "-object", f"{file},size={MEMORY_MIB}M"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-serial", "stdio", "-serial", f"file:{self.acknowledged}"),
            *("-kernel", str(self.kernel.image), "-initrd", str(self.disk)),
            *("-append", f"{quiet} {persistent}"),
            *("-virtfs", f"local,path=/,mount_tag=tree,readonly=on,{shared}"),
            *("-virtfs", f"local,path={self.exchange},mount_tag=exchange,{shared}"),
        ]
