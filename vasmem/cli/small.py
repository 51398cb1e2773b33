"""Lines of a dump about sets, counters and queues, which lead from no keys to values.

`{"set": NAME, "raw": BOOL}` and `{"queue": NAME, "raw": BOOL, "maxsize": N}` come before
`{"set": NAME, "key": KEY}` and `{"queue": NAME, "item": ITEM}`; `{"counter": NAME, "value": N}` is
all of a counter. Locks are of the moment, and left out.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

from vasmem.counter import Counter
from vasmem.queues import Queue
from vasmem.segment import Segment
from vasmem.sets import Set

_PARTS = {
    "set": ({"key"}, {"raw"}),
    "queue": ({"item"}, {"raw", "maxsize"}),
    "counter": ({"value"}, {"value"}),
}


def lines(found: Set[Any] | Counter | Queue[Any]) -> Iterator[dict[str, Any]]:
    """What a dump says of it."""
    if isinstance(found, Counter):
        yield {"counter": found.name, "value": found.value}
    elif isinstance(found, Set):
        yield {"set": found.name, "raw": found.raw}
        yield from ({"set": found.name, "key": key} for key in found)
    else:
        yield {"queue": found.name, "raw": found.raw, "maxsize": found.maxsize}
        yield from ({"queue": found.name, "item": item} for item in found.items())


def load_line(segment: Segment, line: Any) -> bool:
    """Does what a line says; false if it is about none of these. Raises ValueError."""
    if type(line) is not dict:
        return False
    for what, (entry, header) in _PARTS.items():
        name = line.get(what)
        if type(name) is not str:
            continue
        if line.keys() not in (entry | {what}, header | {what}):
            break
        _load(segment, what, name, line)
        return True
    return False


def _load(segment: Segment, what: str, name: str, line: dict[str, Any]) -> None:
    if what == "counter":
        segment.counter(name).set(line["value"])
    elif what == "set" and "raw" in line:
        segment.set(name, raw=bool(line["raw"]))
    elif what == "set":
        _structure(segment, name, Set).add(line["key"])
    elif "raw" in line:
        segment.queue(name, line["maxsize"], raw=bool(line["raw"]))
    else:
        try:
            _structure(segment, name, Queue).put_nowait(line["item"])
        except queue.Full:
            raise ValueError(f"queue {name!r} of {segment.name} has no room for it") from None


def _structure(segment: Segment, name: str, kind: type[Any]) -> Any:
    found = segment.get(name)
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} is no {kind.__name__.lower()} of {segment.name} so far")
    return found
