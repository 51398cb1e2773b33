"""What the bytes of a segment survive, as a type."""

from dataclasses import dataclass
from typing import Literal

from vasmem.errors import BackendUnavailable

Promise = Literal["kill", "power"]

_FAULTS = {"kill": "a killed process", "power": "a power failure"}


@dataclass(frozen=True)
class Promises:
    """What a backend promises about the bytes of its segments.

    `kill`: they survive a process killed at any instruction. `power`: they survive a power failure
    at any instruction; "if synced" is less: they survive it if the segment was synced, or closed by
    its last writer, and not written since, and otherwise attaching it afterwards is refused.
    `flush`: keeping the promise takes a write-back of cache lines and a fence, which the engine
    then does at each commit; with `eadr` the fence alone, as the caches are durable themselves.
    `emulated`: the medium is played by a file, which `Segment.crash` lets fail; a power failure of
    the machine itself is not survived.
    """

    kill: bool
    power: bool | Literal["if synced"]
    flush: bool
    emulated: bool = False
    eadr: bool = False

    @property
    def marked(self) -> bool:
        """Whether segments carry a mark that tells if all was synced."""
        return self.power == "if synced"

    def keeps(self, promise: Promise) -> bool:
        """Whether `promise` really holds; an emulated or conditional one is not kept."""
        if promise == "kill":
            return self.kill
        return self.power is True and not self.emulated

    def require(self, promise: Promise | None, url: str) -> None:
        """Raise BackendUnavailable unless `promise` is kept; `url` is named in the message."""
        if promise is None:
            return
        if promise not in _FAULTS:
            raise ValueError(f"promise is 'kill' or 'power', not {promise!r}")
        if self.keeps(promise):
            return
        label = " (emulated)" if self.emulated else ""
        advice = "leave promise= out, or name a backend that promises it"
        if promise == "power" and self.power == "if synced":
            advice = (
                "it is intact after one if it was synced, or closed by its last writer, and not "
                "written since; leave promise= out if that is enough"
            )
        raise BackendUnavailable(
            f"{url}{label} does not promise to survive {_FAULTS[promise]}; {advice}"
        )

    def __str__(self) -> str:
        kept = ["kill"] if self.kill else []
        if self.power:
            kept.append("power" if self.power is True else f"power {self.power}")
        return "+".join(kept or ["nothing"]) + (" (emulated)" if self.emulated else "")
