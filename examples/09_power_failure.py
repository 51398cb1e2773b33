"""A power failure as an event: what was acknowledged is there, whatever the caches still held."""

import os

import vasmem

URL = f"dax:///dev/shm/example-{os.getpid()}"  # on a DAX mount, without emulate=, it is real

segment = vasmem.create(URL, emulate=True)
try:
    users = segment.hashmap("users")
    users["ada"] = {"balance": 10}
    users["bob"] = {"balance": 0}
    print(segment.crash(seed=7))  # lines that were not durable yet, and those that survived
    with vasmem.attach(URL) as segment:  # the first to attach recovers
        print(dict(segment["users"]), segment.check())
        assert dict(segment["users"]) == {"ada": {"balance": 10}, "bob": {"balance": 0}}
finally:
    vasmem.remove(URL)
