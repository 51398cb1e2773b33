"""Fault models: what may happen, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Model: TypeAlias = Literal["px86", "eadr", "words", "fence-only"]
MODELS = ("px86", "eadr", "words", "fence-only")
KINDS = ("bit", "line", "page", "truncate", "extend", "swap")


@dataclass(frozen=True)
class PowerCut:
    """The power fails, and comes back; whoever attaches first recovers.

    "px86": each line of 64 bytes holds some prefix of its stores, at least what was flushed and
    fenced; "words": the 8-byte words of a line do not wait for each other either; "eadr": caches
    are durable, only the last stores before a fence may be missing; "fence-only": nothing is
    reordered, which shows what tools see that only look there.
    """

    model: Model = "px86"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"no fault model {self.model!r}: there are {', '.join(MODELS)}")

    def __str__(self) -> str:
        return f"power cut ({self.model})"


@dataclass(frozen=True)
class Kill:
    """The process dies after a store, "every-store" or the one of that number; memory stays.

    Whoever attaches next goes on without a recovery from power failure.
    """

    at: int | Literal["every-store"] = "every-store"

    def __str__(self) -> str:
        return f"kill at {self.at}"


@dataclass(frozen=True)
class Damage:
    """Bytes of the segment at rest change: nothing may crash, hang, or raise what is no error."""

    kinds: tuple[str, ...] = KINDS
    n: int = 300

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"no kind of damage {kind!r}: there are {', '.join(KINDS)}")

    def __str__(self) -> str:
        return f"damage ({', '.join(self.kinds)})"


def Poison(n: int = 300) -> Damage:  # noqa: N802
    """Whole lines and pages that the medium lost."""
    return Damage(("line", "page"), n)


def Truncate(n: int = 100) -> Damage:  # noqa: N802
    """The file is shorter, or longer, than it was."""
    return Damage(("truncate", "extend"), n)


@dataclass(frozen=True)
class Enospc:
    """There is no room for a growth of the segment, for each one that the workload asks for."""

    def __str__(self) -> str:
        return "no space"


Fault: TypeAlias = "PowerCut | Kill | Damage | Enospc"


def to_json(fault: Fault) -> dict[str, Any]:
    """Plain data."""
    return {"fault": type(fault).__name__, **vars(fault)}


def from_json(data: dict[str, Any]) -> Fault:
    """What `to_json` gave. Raises ValueError."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (PowerCut, Kill, Damage, Enospc)}
    pairs = ((key, tuple(v) if isinstance(v, list) else v) for key, v in data.items())
    options: dict[str, Any] = dict(pairs)
    try:
        made: Fault = kinds[options.pop("fault")](**options)
        return made
    except (KeyError, TypeError):
        raise ValueError(f"not a fault: {data!r}") from None


def from_text(text: str) -> Fault:
    """What the command line calls a fault: a model, "kill", "damage", "poison", "enospc"..."""
    if text in MODELS:
        return PowerCut(text)  # type: ignore[arg-type]
    made: dict[str, Any] = {
        "kill": Kill,
        "damage": Damage,
        "poison": Poison,
        "truncate": Truncate,
        "enospc": Enospc,
    }
    if text not in made:
        raise ValueError(f"no fault {text!r}: there are {', '.join((*MODELS, *made))}")
    fault: Fault = made[text]()
    return fault
