"""Values: bytes of any origin, several threads, and what is imported when."""

import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from datetime import time as clock

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values import back, same, values

from vasmem import codec
from vasmem._core import SegmentCorrupted, decode_value, encode_value


def only_known(value: object) -> bool:
    """No helper object of the codec has come out."""
    if isinstance(value, dict):
        return all(only_known(key) and only_known(item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(only_known, value))
    return isinstance(value, KNOWN)


KNOWN = (
    type(None),
    int,
    float,
    complex,
    str,
    bytes,
    date,
    clock,
    timedelta,
    np.ndarray,
    np.generic,
)


def check_hostile(data: bytes) -> None:
    try:
        value = decode_value(data)
    except SegmentCorrupted:
        return
    except ModuleNotFoundError as error:
        if error.name != "tzdata":
            raise
        return
    assert only_known(value)


@given(st.binary())
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    check_hostile(data)
    for mark in b"tsfan":
        check_hostile(bytes([0x95, 0xD4, 1, mark]) + data)


samples = st.sampled_from(
    [
        np.zeros((2, 3)),
        np.zeros(2, dtype=[("a", "u1"), ("b", "<f8", (2,))]),
        np.float32(1),
        np.str_("a"),
    ]
)


@settings(max_examples=300)
@given(values | samples, st.integers(0), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_values(value: object, place: int, put: bytes, cut: int) -> None:
    data = encode_value(value)
    place %= len(data) + 1
    check_hostile(data[:place] + put + data[place + cut :])


def array(*items: object) -> bytes:
    """A document that claims to be a numpy array."""
    packed = [msgpack.packb(item, default=codec._extend, strict_types=True) for item in items]
    return bytes([0x91 + len(items)]) + b"\xd4\x01a" + b"".join(packed)


def scalar(*items: object) -> bytes:
    return array(*items).replace(b"\xd4\x01a", b"\xd4\x01n", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x05\x05",
        b"\xcc",
        b"\xd3\x00",
        b"\xcb" + bytes(9),
        b"\xa2a",
        b"\xd9",
        b"\xd9\x02abc",
        b"\xc6\xff\xff\xff\xffa",
        b"\xa1\xff",
        b"\x91\xa1\xff",
        b"\x91",
        b"\x91\xc1",
        b"\x81\x90\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\x01",
        b"\xdd\x00\x10\x00\x00" * 250,
        b"\xd4\x01t",
        b"\x92\x01\xd4\x01t",
        b"\x81\x01\xd4\x01t",
        b"\x91\xd4\x01x",
        b"\x91\xd5\x01tt",
        b"\x92\xd4\x01s\x90",
        b"\xd4\x00a",
        b"\xd4\x08a",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xc7\x00\x03",
        b"\xd7\x03" + bytes(8),
        b"\xd6\x05\x07\xea\x0d\x01",
        b"\xd6\x05\x00\x00\x01\x01",
        b"\xc7\x0d\x04\x07\xea\x01\x01" + bytes(8) + b"?",
        b"\xc7\x0d\x04\x07\xea\x01\x01" + bytes(8) + b"+",
        b"\xc7\x0d\x04\x07\xea\x01\x01" + bytes(8) + b"@",
        b"\xc7\x17\x04\x07\xea\x01\x01" + bytes(8) + b"@../etc/pas",
        b"\xc7\x0c\x07\x7f" + bytes(11),
        array(),
        array("<f8", [1], "C"),
        array("<f8", [1], "C", bytes(7)),
        array("<f8", [-1], "C", b""),
        array("<f8", [-1, -1], "C", bytes(8)),
        array("<f8", [1.0], "C", bytes(8)),
        array("<f8", ["a"], "C", bytes(8)),
        array("<f8", 1, "C", bytes(8)),
        array("<f8", [1] * 65, "C", bytes(8)),
        array("<f8", [0, 2**62, 2**62], "C", b""),
        array("<f8", [1], "X", bytes(8)),
        array("<f8", [1], 5, bytes(8)),
        array("<f8", [1], "C", "a" * 8),
        array("|O8", [1], "C", bytes(8)),
        array("O", [1], "C", bytes(8)),
        array("object", [1], "C", bytes(8)),
        array("f8,f8", [1], "C", bytes(16)),
        array("|V0", [10**18], "C", b""),
        array("<f9", [1], "C", bytes(9)),
        array("<M8[parsec]", [1], "C", bytes(8)),
        array([], [1], "C", b""),
        array([("a", "|O8")], [1], "C", bytes(8)),
        array([("a",)], [1], "C", b""),
        array([("a", "<f8"), ("a", "<f8")], [1], "C", bytes(16)),
        array([("a", "<f8", (2**31, 2**31))], [1], "C", bytes(8)),
        array([("a", "<f8", (-1,))], [1], "C", bytes(8)),
        array([("a", "<f8", "x")], [1], "C", bytes(8)),
        array([["a", "<f8"]], [1], "C", bytes(8)),
        array({"a": "<f8"}, [1], "C", bytes(8)),
        array(None, [1], "C", bytes(8)),
        scalar("<f8", bytes(9)),
        scalar("<f8", None),
        scalar("U", b"a"),
        scalar("S", "a"),
        scalar("U"),
    ],
    ids=lambda data: data[:24].hex(),
)
def test_bytes_that_are_no_value(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(SegmentCorrupted, match="the bytes of a value are damaged: "):
        decode_value(data)
    assert time.process_time() - started < 5, "the time depends on what the bytes claim"


def test_nothing_is_imported_before_it_is_needed() -> None:
    script = """
import sys
from vasmem._core import decode_value, encode_value, encode_key, decode_key
def loaded(): return {"numpy", "msgpack", "vasmem.codec", "zoneinfo"} & set(sys.modules)
for value in (None, True, 5, -2**63, 1.5, "text", "\\ud800", b"bytes"):
    assert decode_value(encode_value(value)) == value
    assert decode_key(encode_key((value,))) == (value,)
assert not loaded(), loaded()
assert decode_value(encode_value({"a": (1, {2})})) == {"a": (1, {2})}
assert loaded() == {"msgpack", "vasmem.codec"}, loaded()
stored = bytes.fromhex(sys.argv[1])
assert decode_value(stored).tolist() == [1.5]
assert "numpy" in loaded()
"""
    stored = encode_value(np.array([1.5])).hex()
    subprocess.run([sys.executable, "-c", script, stored], check=True, timeout=60, cwd="/")


def test_threads_do_not_share_a_buffer() -> None:
    values = [[{"n": n, "t": (n, (n, "x" * n))}, {n}, 2**70 + n] for n in range(8)]
    wrong: list[object] = []

    def work(value: object) -> None:
        for _ in range(300):
            if not same(back(value), value):
                wrong.append(value)

    run_switching_often([lambda value=value: work(value) for value in values])
    assert wrong == []


def test_a_list_that_changes_meanwhile_is_never_stored_torn() -> None:
    value: list[object] = [(n,) for n in range(50)]
    done = threading.Event()
    outcomes: set[object] = set()

    def change() -> None:
        while not done.is_set():
            value.append(("more",) * 3)
            value.pop()

    def store() -> None:
        for _ in range(2000):
            try:
                stored = encode_value(value)
            except RuntimeError as error:
                outcomes.add(str(error))
            else:
                outcomes.add(decode_value(stored)[:50] == value[:50])
        done.set()

    run_switching_often([change, store])
    assert outcomes <= {True, "the value changed while it was encoded"}


def run_switching_often(functions: list) -> None:
    interval = sys.getswitchinterval()
    threads = [threading.Thread(target=function) for function in functions]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
