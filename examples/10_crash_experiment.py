"""A first crash experiment: a log that forgets a fence, and the crash that shows it."""

from vasmem import lab

FIELDS = {"count": 0, "entries": (64, 640)}  # names for the report


def log_of(segment):
    return segment.memory.area("log", 4096, fields=FIELDS)


def entries(segment):  # what the log holds: the lab compares this
    log = log_of(segment)
    return [log.load(64 * number) for number in range(1, 1 + min(log.load(0), 10))]


@lab.workload(setup=log_of, contents=entries, ops=[("append", 11), ("append", 12)])
def append(segment, _, value):
    log = log_of(segment)
    count = log.load(0)
    log.store(64 * (count + 1), value)  # the entry, in a line of its own
    log.store(0, count + 1)  # publishes it, and may be durable before it
    log.flush(64 * (count + 1))
    log.flush(0)
    log.fence()


result = lab.explore(append, budget="5s", report=False)
print(result.text())
assert result.cases, "the lab finds it"
