"""What a segment holds, as its users see it, to be compared and told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vasmem.memory import AREA_FIELD

if TYPE_CHECKING:
    from vasmem.segment import Segment

# So many differences are named.
NAMED_MAX = 6


def contents(segment: Segment) -> dict[str, Any]:
    """Everything in the structures of a segment, by name: mappings, lists, numbers.

    Areas are left out: only who built a structure in one knows what it holds; so are locks.
    """
    found: dict[str, Any] = {}
    for name, words in segment._core.names():
        kind, *_ = words.split()
        if kind == "lock":
            continue
        structure = segment[name]
        if kind in ("hashmap", "btree"):
            found[name] = dict(structure.items())
        elif kind == "array":
            if structure.dtype.names != (AREA_FIELD,):
                found[name] = structure.read().tolist()
        elif kind == "counter":
            found[name] = structure.value
        elif kind == "set":
            found[name] = set(structure)
        else:
            found[name] = list(structure.items())
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two contents are equal; numpy values compare by what they print."""
    try:
        return bool(one == other)
    except ValueError:
        return repr(one) == repr(other)


def difference(found: Any, wanted: Any, path: str = "") -> list[str]:
    """How `found` differs from `wanted`, a line each."""
    if same(found, wanted):
        return []
    if isinstance(found, dict) and isinstance(wanted, dict):
        lines: list[str] = []
        for key in sorted(found.keys() | wanted.keys(), key=repr):
            place = f"{path}[{key!r}]"
            if key not in found:
                lines.append(f"{place}: missing, should be {_short(wanted[key])}")
            elif key not in wanted:
                lines.append(f"{place}: is {_short(found[key])}, should not be there")
            else:
                lines += difference(found[key], wanted[key], place)
        return lines
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [line for i, (a, b) in pairs for line in difference(a, b, f"{path}[{i}]")]
    where = f"{path}: " if path else ""
    return [f"{where}is {_short(found)}, should be {_short(wanted)}"]


def nearest(found: Any, legal: list[Any]) -> list[str]:
    """The differences to the closest of the legal contents, not more than a few."""
    lines = min((difference(found, wanted) for wanted in legal), key=len, default=[])
    more = [f"... and {len(lines) - NAMED_MAX} more"] if len(lines) > NAMED_MAX else []
    return lines[:NAMED_MAX] + more


def printed(value: Any) -> str:
    """Contents as text: the same for equal ones, whatever order they come in."""
    if isinstance(value, dict):
        items = sorted((printed(key), printed(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in items) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(printed, value))) + "}" if value else "set()"
    if type(value) is list:
        return "[" + ", ".join(map(printed, value)) + "]"
    return repr(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
