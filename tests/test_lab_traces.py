"""Traces: what may not be recorded is refused, and every place has a name."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import vasmem
from vasmem import lab
from vasmem.lab import fields
from vasmem.lab.zoo import EXHIBITS, PATTERNS


def prepare(segment: vasmem.Segment) -> None:
    segment.hashmap("m")[1] = "one"
    segment.btree("t")[1] = "one"
    segment.array("a", (10,), "f8")


def two_threads(segment: vasmem.Segment) -> None:
    other = threading.Thread(target=lambda: segment.hashmap("m").update({2: "two"}))
    other.start()
    other.join()
    segment.hashmap("m")[3] = "three"


def through_a_view(segment: vasmem.Segment) -> None:
    segment["a"].view[0] = 1.0


def another_process(segment: vasmem.Segment) -> None:
    if (pid := os.fork()) == 0:
        try:
            segment.hashmap("m")[2] = "two"
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (two_threads, "several threads"),
        (through_a_view, "nobody was seen to store them"),
        (another_process, "nobody was seen to store them"),
    ],
)
def test_what_is_not_recorded_is_not_passed_over(
    function: Callable[[vasmem.Segment], None], told: str
) -> None:
    with pytest.raises(RuntimeError, match=told):
        lab.Workload(function, setup=prepare).record()
    with vasmem.lab.workloads.Workload(prepare).prepared() as ground, ground.attach() as segment:
        prepare(segment)
        with pytest.raises(RuntimeError, match=told), lab.record(segment):
            function(segment)


def test_one_thread_may_be_any_thread(make: Callable[..., vasmem.Segment]) -> None:
    segment = make("256K")
    prepare(segment)
    with lab.record(segment) as trace:
        other = threading.Thread(target=lambda: segment.hashmap("m").update({2: "two"}))
        other.start()
        other.join()
    assert len(trace) > 0


def test_places_of_our_own_structures_have_names() -> None:
    def function(segment: vasmem.Segment) -> None:
        segment.hashmap("m")[2] = "long enough to have a block"
        segment.btree("t")[2] = "two"

    trace = lab.Workload(function, setup=prepare).record().trace
    told = "\n".join(trace.describe(number) for number in range(len(trace)))
    for name in (
        r"store lane0\.state",
        r"store lane0\.entries\[\d+\]",
        r"flush lane0\.state",
        r"store hash table \d+\.\d+\.version",
        r"store hash header \d+\.1",
        r"store tree node \d+\.0\[\d+\]",
        r"store block \d+\+0x",
        r"store descriptor\d+\[2\]",
        r"flush descriptor\d+\n",
    ):
        assert re.search(name, told), f"{name} in\n{told}"
    assert "heap" not in told


def test_names_are_those_of_the_layout() -> None:
    source = Path(__file__).parent.parent / "core/engine/src/layout.rs"
    if not source.exists():
        pytest.fail("the tests run in a checkout, which has core/engine/src/layout.rs")
    text = source.read_text()
    header = text[text.index("pub mod header") : text.index("pub const HEADER_MIRROR")]
    found = {
        int(at): name.lower()
        for name, at in re.findall(r"pub const (\w+): Offset = (\d+);", header)
        if name != "END"
    }
    assert found == fields.HEADER
    lane = text[text.index("pub mod lane") : text.index("/// What a granule is")]
    head, tail = lane.split("pub const TAIL")
    places = re.findall(r"pub const (\w+): Offset = (\d+);", head)
    behind = re.findall(r"pub const (\w+): Offset = (\d+);", tail)
    found = {int(at): name.lower() for name, at in places}
    found |= {fields.TAIL + int(at): name.lower() for name, at in behind}
    assert found == fields.LANE


def test_every_known_pattern_has_a_defect() -> None:
    assert {exhibit.pattern for exhibit in EXHIBITS} - {""} == set(PATTERNS)
