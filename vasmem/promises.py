"""What the bytes of a segment survive, as a type."""

from dataclasses import dataclass
from typing import Literal

from vasmem.errors import BackendUnavailable

Promise = Literal["kill", "power"]

_KEPT_BY = {
    "kill": "any backend: shm, file, dax, vas",
    "power": "a segment on persistent memory (dax://) or in a file (file://)",
}


@dataclass(frozen=True)
class Promises:
    """What a backend promises about the bytes of its segments.

    `kill`: they survive a process killed at any instruction. `power`: they survive a power failure
    at any instruction. `flush`: keeping the promise takes a write-back of cache lines and a fence,
    which the engine then does at each commit. `emulated`: the promise holds in the crash lab only;
    the medium underneath does not keep it.
    """

    kill: bool
    power: bool
    flush: bool
    emulated: bool = False

    def keeps(self, promise: Promise) -> bool:
        """Whether `promise` really holds; an emulated one survives no real power failure."""
        if promise == "kill":
            return self.kill
        return self.power and not self.emulated

    def require(self, promise: Promise | None, url: str) -> None:
        """Raise BackendUnavailable unless `promise` is kept; `url` is named in the message."""
        if promise is None:
            return
        if promise not in _KEPT_BY:
            raise ValueError(f"promise is 'kill' or 'power', not {promise!r}")
        if not self.keeps(promise):
            label = " (emulated)" if self.emulated else ""
            raise BackendUnavailable(
                f"{url}{label} does not promise to survive "
                f"{'a killed process' if promise == 'kill' else 'a power failure'}; "
                f"use {_KEPT_BY[promise]}"
            )

    def __str__(self) -> str:
        kept = [promise for promise in ("kill", "power") if getattr(self, promise)]
        return "+".join(kept or ["nothing"]) + (" (emulated)" if self.emulated else "")
