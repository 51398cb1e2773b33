"""A work queue between processes: a consumer is killed in the middle of a job, and no job is lost.

`task_done` inside the transaction ends the lease of the job together with what came of it, so that
each job counts exactly once, whenever a consumer dies.
"""

import os
import signal
import time

import vasmem

JOBS = 200
segment = vasmem.create("work-queue", max_size="64M")
jobs = segment.queue("jobs", maxsize=20)
results = segment.hashmap("results")
by_process = segment.hashmap("by process")


def produce() -> None:
    for number in range(JOBS):
        jobs.put({"square": number})  # waits while 20 jobs are waiting


def consume() -> None:
    while True:
        job = jobs.get()
        time.sleep(0.001)  # the work
        with segment.transaction():
            results[job["square"]] = job["square"] ** 2
            by_process.incr(os.getpid())
            jobs.task_done()


def start(work) -> int:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid


producer = start(produce)
consumers = [start(consume) for _ in range(3)]
while len(results) < JOBS:
    time.sleep(0.02)
    victim = consumers.pop(0)
    os.kill(victim, signal.SIGKILL)  # whatever it is doing
    os.waitpid(victim, 0)
    consumers.append(start(consume))
for pid in consumers:
    os.kill(pid, signal.SIGKILL)
os.waitpid(producer, 0)

assert dict(results) == {number: number**2 for number in range(JOBS)}
assert sum(by_process.values()) == JOBS  # none was done twice
assert segment.check() == []
print(f"{JOBS} jobs, each done once, by {len(by_process)} consumers, of which some were killed")
vasmem.remove("work-queue")
