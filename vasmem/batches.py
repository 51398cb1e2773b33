"""What comes one by one, some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

T = TypeVar("T")
# Keys that `update` and `clear` hand over at a time.
BATCH = 1000


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def pairs_of(
    other: Any, named: Mapping[str, Any], size: int
) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Keys and values of what `dict.update` takes, up to `size` of them at a time."""
    if isinstance(other, Mapping):
        pairs: Iterable[tuple[Any, Any]] = other.items()
    elif hasattr(other, "keys"):
        pairs = ((key, other[key]) for key in other.keys())  # noqa: SIM118
    else:
        pairs = other
    for batch in batched(chain(pairs, named.items()), size):
        # Not shorter and not longer than two, each of them: ValueError.
        keys, values = zip(*batch, strict=True)
        yield keys, values
