"""The suites, by name: each a function from a run to its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vasmem.bench.result import Row
from vasmem.bench.run import Run
from vasmem.bench.suites import array, attach, contend, durable, kv, ordered, recover

SUITES: dict[str, Callable[[Run], Iterable[Row]]] = {
    "kv": kv.run,
    "ordered": ordered.run,
    "array": array.run,
    "attach": attach.run,
    "durable": durable.run,
    "contend": contend.run,
    "recover": recover.run,
}
