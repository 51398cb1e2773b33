"""What a SIGKILL leaves behind: everything that was written, and no lock that anyone waits for."""

import os
import signal
import time

import vasmem

NAME = f"example-{os.getpid()}"

with vasmem.create(NAME) as segment:
    try:
        counts = segment.hashmap("counts")
        counts["done"] = 0
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:  # handles go on working in a forked child
            while True:
                counts["done"] += 1
                if counts["done"] == 1000:
                    with segment.transaction():
                        counts["half"] = "of a transaction"
                        os.write(told, b".")
                        time.sleep(60)  # is killed here
        os.read(ready, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        begin = time.perf_counter()
        counts["done"] += 1  # finds the dead writer's lock and undoes its transaction
        took_ms = (time.perf_counter() - begin) * 1000
        print(f"{dict(counts)}; the next write took {took_ms:.1f} ms")
        assert dict(counts) == {"done": 1001}
        assert segment.check() == []
    finally:
        vasmem.remove(NAME)
