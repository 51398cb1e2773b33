"""Persistent memory played by a file: how slow it is to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias

EMULATE_VARIABLE = "VASMEM_DAX_EMULATE"


@dataclass(frozen=True)
class Emulation:
    """A latency model; all zeros is as fast as this machine is.

    A fence that has lines to wait for lasts at least `fence_ns` nanoseconds, and `line_ns` more for
    each of these lines; all processes together write at most `write_bytes_per_s`, where 0 sets no
    limit. What the machine takes by itself counts: nothing is added where it is slower anyway.
    """

    fence_ns: int = 0
    line_ns: int = 0
    write_bytes_per_s: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or not 0 <= value < 1 << 40:
                raise ValueError(f"{name} of an emulation is a whole number of at least 0")


# A store, clwb and sfence take 62 ns (Yang et al., "An Empirical Guide to the Behavior and Use of
# Scalable Persistent Memory", FAST 2020). One module writes 2.3 GB/s (the same), six of them
# interleaved 13.9 GB/s (Izraelevitz et al., "Basic Performance Measurements of the Intel Optane DC
# Persistent Memory Module", 2019).
PRESETS = {
    "optane-100": Emulation(fence_ns=62, write_bytes_per_s=2_300_000_000),
    "optane-100-six": Emulation(fence_ns=62, write_bytes_per_s=13_900_000_000),
}

Emulate: TypeAlias = "bool | str | Emulation"


def wants_emulation(emulate: Emulate, backend_name: str) -> tuple[bool, Emulation | None]:
    """Whether to emulate, and the latency model if one was asked for.

    For `dax` the environment may say so: "1", or a preset. Raises ValueError.
    """
    if emulate is False and backend_name == "dax":
        said = os.environ.get(EMULATE_VARIABLE, "")
        emulate = said == "1" or said or False
    if isinstance(emulate, bool):
        return emulate, None
    if isinstance(emulate, Emulation):
        return True, emulate
    if emulate not in PRESETS:
        raise ValueError(
            f"emulate is True, an Emulation or one of {', '.join(PRESETS)}, not {emulate!r}"
        )
    return True, PRESETS[emulate]
