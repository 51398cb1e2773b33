"""Every key and value as JSON, without loss: what JSON lacks is an object with one `$` name.

================================ =====================================================
`{"$bytes": "AAE="}`             bytes in base64
`{"$tuple": [1, 2]}`             tuple; likewise `$set` and `$frozenset`
`{"$dict": [[1, "one"]]}`        dict whose keys are not all text, or begin with `$`
`{"$int": "-0x10000000000000000"}` int beyond 64 bits
`{"$float": "inf"}`              inf, -inf, nan; another NaN as its 16 hex digits
`{"$complex": [1.0, 2.0]}`       complex
`{"$str": "7aCA"}`               text with surrogates: its UTF-8, so to say, in base64
`{"$datetime": "2026-01-02T03:04:05"}` datetime; likewise `$date` and `$time`
`{"$timedelta": [1, 2, 3]}`      days, seconds, microseconds
`{"$packed": "..."}`             anything else, numpy above all: as vasmem stores it, in base64
================================ =====================================================
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

from vasmem._core import VasmemError, decode_value, encode_value

_DOUBLE = struct.Struct(">d")
_INT_BITS = 64
_NAN = _DOUBLE.pack(math.nan)


def dumps(value: Any) -> str:
    """The value as one line of JSON. Raises WrongType for what vasmem does not store."""
    return json.dumps(to_json(value), ensure_ascii=False, allow_nan=False)


def loads(text: str) -> Any:
    """The value that the JSON means. Raises ValueError, which says what is wrong."""
    try:
        return from_json(json.loads(text, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("this JSON is nested too deeply") from None


def to_json(value: Any) -> Any:
    """What `json` can write, in which everything else is tagged."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    encode = _ENCODERS.get(kind, _packed)
    return encode(value)


def from_json(value: Any) -> Any:
    """The reverse of `to_json`."""
    if type(value) is list:
        return [from_json(item) for item in value]
    if type(value) is not dict:
        return value
    tag = next((name for name in value if name.startswith("$")), None)
    if tag is None:
        return {name: from_json(item) for name, item in value.items()}
    decode = _DECODERS.get(tag)
    if decode is None or len(value) != 1:
        raise ValueError(
            f"{tag!r} is no tag of vasmem, or not alone in its object; there are: "
            f"{', '.join(sorted(_DECODERS))}. A dict with such a key is written as $dict"
        )
    try:
        return decode(value[tag])
    except (TypeError, ValueError, struct.error, OverflowError, VasmemError) as error:
        raise ValueError(f"{tag} does not hold what it should: {error}") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f'{text} is not JSON; write {{"$float": "nan"}}, "inf" or "-inf"')


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


def _packed(value: Any) -> Any:
    return {"$packed": _base64(encode_value(value))}


def _is_plain(text: str) -> bool:
    """Whether the text is Unicode: JSON would make one character of two surrogates in a row."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _text(value: str) -> Any:
    if _is_plain(value):
        return value
    return {"$str": _base64(value.encode(errors="surrogatepass"))}


def _int(value: int) -> Any:
    return value if value.bit_length() < _INT_BITS else {"$int": hex(value)}


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    bits = _DOUBLE.pack(value)
    return {"$float": bits.hex() if math.isnan(value) and bits != _NAN else str(value)}


def _to_float(value: Any) -> float:
    if type(value) is float:
        return value
    if value in ("inf", "-inf", "nan"):
        return float(value)
    found: float = _DOUBLE.unpack(bytes.fromhex(value))[0]
    return found


def _dict(value: dict[Any, Any]) -> Any:
    if all(type(key) is str and key[:1] != "$" and _is_plain(key) for key in value):
        return {key: to_json(item) for key, item in value.items()}
    return {"$dict": [[to_json(key), to_json(item)] for key, item in value.items()]}


def _items(tag: str) -> Callable[[Any], Any]:
    return lambda value: {tag: [to_json(item) for item in value]}


def _iso(tag: str, parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """ISO text where that says it all; a named zone or a fold is packed."""

    def encode(value: Any) -> Any:
        text: str = value.isoformat()
        return {tag: text} if repr(parse(text)) == repr(value) else _packed(value)

    return encode


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    str: _text,
    int: _int,
    float: _float,
    bytes: lambda value: {"$bytes": _base64(value)},
    list: lambda value: [to_json(item) for item in value],
    dict: _dict,
    tuple: _items("$tuple"),
    set: _items("$set"),
    frozenset: _items("$frozenset"),
    complex: lambda value: {"$complex": [_float(value.real), _float(value.imag)]},
    datetime: _iso("$datetime", datetime.fromisoformat),
    date: _iso("$date", date.fromisoformat),
    time: _iso("$time", time.fromisoformat),
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$str": lambda text: _bytes(text).decode(errors="surrogatepass"),
    "$int": lambda text: int(text, 16),
    "$float": _to_float,
    "$bytes": _bytes,
    "$dict": lambda pairs: {from_json(key): from_json(item) for key, item in pairs},
    "$tuple": lambda items: tuple(map(from_json, items)),
    "$set": lambda items: set(map(from_json, items)),
    "$frozenset": lambda items: frozenset(map(from_json, items)),
    "$complex": lambda parts: complex(*(_to_float(from_json(part)) for part in parts)),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda parts: timedelta(*parts),
    "$packed": lambda text: decode_value(_bytes(text)),
}
