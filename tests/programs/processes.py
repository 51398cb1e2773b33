"""Hands a segment and a map of it to three processes of multiprocessing; arguments: url, method."""

import multiprocessing
import sys

import vasmem


def work(segment: vasmem.Segment, users: vasmem.HashMap, name: str) -> None:
    others = segment.hashmap("others")
    # The map has an attachment of its own where the two were not pickled as one.
    with users.segment.transaction():
        users[name] = users.get(name, 0) + 1
    others[name] = segment.readonly


if __name__ == "__main__":
    url, method = sys.argv[1:]
    attached = vasmem.attach(url)
    arguments = (attached, attached.hashmap("users"), method)
    context = multiprocessing.get_context(method)
    started = [context.Process(target=work, args=arguments) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in started))
