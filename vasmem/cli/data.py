"""`get`, `put`, `del`, `keys`: the records of a map."""

from __future__ import annotations

import os
from itertools import islice
from typing import Annotated, Any

import typer

from vasmem.cli import tagged
from vasmem.cli.opening import AS_JSON, MAP, NAME, OWNER, open_map
from vasmem.cli.output import NotFound, print_json, write_bytes
from vasmem.opening import attach
from vasmem.segment import Structure

KEY = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        show_default=False,
        help="JSON if it parses (12, '\"12\"', '{\"$tuple\": [1, 2]}'), else plain text; "
        "bytes as they are for a raw map.",
    ),
]
VALUE = Annotated[
    str, typer.Argument(metavar="VALUE", show_default=False, help="As KEY: JSON, text or bytes.")
]
BTREE = Annotated[bool, typer.Option("--btree", help="Make a B-tree if there is no MAP.")]
RAW = Annotated[bool, typer.Option("--raw", help="KEY and VALUE are bytes as they are, not JSON.")]


def get(
    name: NAME,
    map_name: MAP,
    key: KEY,
    raw: RAW = False,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Print the value of a key: text and bytes as they are, anything else as JSON.

    Exit 1 if the key is not there.
    """
    with attach(name, readonly=True, owner=owner) as segment:
        found = open_map(segment, map_name)
        try:
            value = found[argument(key, raw or is_raw(found))]
        except KeyError:
            raise _no_key(found, key) from None
    _print_value(value, as_json)


def put(
    name: NAME,
    map_name: MAP,
    key: KEY,
    value: VALUE,
    raw: RAW = False,
    btree: BTREE = False,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Store a value under a key. A map that is not there is made; with --raw it is a raw one."""
    with attach(name, owner=owner) as segment:
        if map_name in segment:
            found = open_map(segment, map_name)
        else:
            make = segment.btree if btree else segment.hashmap
            found = make(map_name, raw=raw)
        literal = raw or is_raw(found)
        found[argument(key, literal)] = argument(value, literal)
    if as_json:
        print_json({"stored": 1})


def delete(
    name: NAME,
    map_name: MAP,
    key: KEY,
    raw: RAW = False,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Delete a key. Exit 1 if it is not there."""
    with attach(name, owner=owner) as segment:
        found = open_map(segment, map_name)
        try:
            del found[argument(key, raw or is_raw(found))]
        except KeyError:
            raise _no_key(found, key) from None
    if as_json:
        print_json({"deleted": 1})


def keys(
    name: NAME,
    map_name: MAP,
    limit: Annotated[int | None, typer.Option(min=0, help="Print no more than so many.")] = None,
    owner: OWNER = None,
    as_json: AS_JSON = False,
) -> None:
    """Print the keys of a map as JSON, one a line; text without quotes. A B-tree's are in order.

    Others may write meanwhile: what is there all the time comes exactly once. With --json each
    line is JSON that `get` takes back.
    """
    with attach(name, readonly=True, owner=owner) as segment:
        for key in islice(open_map(segment, map_name), limit):
            print(tagged.dumps(key) if as_json else plain(key))


def is_raw(found: Structure) -> bool:
    """Whether it takes bytes as they are; a typed map takes what fits its types."""
    return bool(getattr(found, "raw", False))


def argument(text: str, literal: bool) -> Any:
    """The key or value that the words on the command line mean."""
    if literal:
        return os.fsencode(text)
    try:
        return tagged.loads(text)
    except ValueError:
        return text


def plain(value: Any) -> str:
    """As JSON, but text that can be printed without quotes."""
    return value if type(value) is str and value.isprintable() else tagged.dumps(value)


def _no_key(found: Structure, key: str) -> NotFound:
    return NotFound(f"{found.name} in {found.segment.name} has no key {key}")


def _print_value(value: Any, as_json: bool) -> None:
    if type(value) is bytes and not as_json:
        write_bytes(value)
    elif type(value) is str and not as_json:
        write_bytes(value.encode(errors="surrogatepass") + b"\n")
    else:
        write_bytes(tagged.dumps(value).encode() + b"\n")
