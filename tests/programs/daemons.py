"""Ends while daemon threads are inside calls; arguments: url, kind of call."""

import random
import sys
import threading
import time

import vasmem

url, kind = sys.argv[1:]
segment = vasmem.attach(url)
users = segment.hashmap("users")
raw = segment.hashmap("raw", raw=True)
keys = [b"%d" % number for number in range(20_000)]
values = [b"x" * 50] * len(keys)


def transact() -> None:
    with segment.transaction():
        users["n"] = users.get("n", 0) + 1
        users["m"] = users["n"]


def iterate() -> None:
    for _ in users.items():
        pass


def wait_for_lock() -> None:
    users["waits"] = 1


def insert_and_delete() -> None:
    users.update((number, "x") for number in range(100))
    users.clear()


calls = {
    "get": lambda: raw.get(b"1"),
    "put": lambda: users.__setitem__(random.randrange(1000), "x"),
    "put_many": lambda: raw.put_many(keys, values),
    "get_many": lambda: raw.get_many(keys),
    "delete_many": lambda: (raw.put_many(keys, values), raw.delete_many(keys)),
    "transaction": transact,
    "wait": wait_for_lock,
    "iterate": iterate,
    "clear": insert_and_delete,
    "check": segment.check,
}


def loop() -> None:
    while True:
        calls[kind]()


if kind == "wait":
    segment.timeout = 60
    with vasmem.attach(url) as holder:
        holder.transaction().__enter__()
        for _ in range(4):
            threading.Thread(target=loop, daemon=True).start()
        time.sleep(random.random() / 20)
        sys.exit(0)
for _ in range(4):
    threading.Thread(target=loop, daemon=True).start()
time.sleep(random.random() / 20)
