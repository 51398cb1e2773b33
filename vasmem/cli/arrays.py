"""Lines of a dump about arrays.

`{"array": NAME, "dtype": ..., "shape": [ROWS, ...]}`, the dtype the way numpy describes it, comes
before `{"array": NAME, "at": ROW, "rows": BYTES}`, the bytes of some rows from that one on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vasmem import _core
from vasmem.segment import Segment

# Of the rows in one line.
LINE_BYTES = 1 << 18


def lines(found: Any) -> Iterator[dict[str, Any]]:
    """What a dump says of an array; each line is as it was at one moment."""
    from vasmem._arrays import describe  # numpy takes long to import

    shape = list(found.shape)
    yield {"array": found.name, "dtype": describe(found.dtype), "shape": shape}
    step = max(1, LINE_BYTES // found.row_bytes)
    for row in range(0, shape[0], step):
        rows = found[row : min(row + step, shape[0])]
        yield {"array": found.name, "at": row, "rows": rows.tobytes()}


def load_line(segment: Segment, line: Any) -> bool:
    """Does what a line says; false if it is not about an array. Raises ValueError."""
    if type(line) is not dict or type(line.get("array")) is not str:
        return False
    name = line["array"]
    if line.keys() == {"array", "dtype", "shape"}:
        _make(segment, name, line["dtype"], line["shape"])
    elif line.keys() == {"array", "at", "rows"}:
        _put(segment, name, line["at"], line["rows"])
    else:
        raise ValueError("a line about an array has dtype and shape, or at and rows")
    return True


def _make(segment: Segment, name: str, description: Any, shape: Any) -> None:
    from vasmem._arrays import dtype_of

    try:
        dtype = dtype_of(description)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"this is no dtype of an array: {description!r:.80}") from error
    if type(shape) is not list or not all(type(size) is int for size in shape):
        raise ValueError(f"this is no shape of an array: {shape!r:.80}")
    segment.array(name, shape, dtype).resize(shape[0])


def _put(segment: Segment, name: str, row: Any, data: Any) -> None:
    found = segment.get(name)
    if not isinstance(found, _core.Array):
        raise ValueError(f"{name!r} is no array of {segment.name} so far")
    width = found.row_bytes
    fits = type(row) is int and row >= 0 and type(data) is bytes and len(data) % width == 0
    if not fits or not found.write_range(row * width, data):
        raise ValueError(f"these are no rows of array {name!r}, which has {len(found)}")
