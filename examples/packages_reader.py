"""Answer questions about packages from a shared map, for which its name is enough.

    python packages_reader.py SEGMENT

Each line of the standard input is the name of a package, or `batch`: then it looks at all records
and tells which batches they are of. It attaches read-only: it needs no more than read permission,
takes no locks, and waits for no writer, be that one slow, stopped or dead.
"""

import sys

import vasmem


def describe(segment: vasmem.Segment, package: str) -> str:
    record = segment["packages"].get(package)
    if record is None:
        return f"no package is called {package}"
    return f"{package} is version {record.get('Version')}, says batch {record['batch']}"


def batches(segment: vasmem.Segment) -> str:
    """Which batches the records are of, all looked at between two commits."""
    packages, progress = segment["packages"], segment["progress"]
    while True:
        batch = progress["batch"]
        seen = {record["batch"] for record in packages.values()}
        if progress["batch"] == batch:
            break
    if seen == {batch}:
        return f"all {len(packages)} records are of batch {batch}"
    return f"TORN: records of batches {sorted(seen)} while batch {batch} is the last"


def main(name: str) -> None:
    with vasmem.attach(name, readonly=True) as segment:
        for line in sys.stdin:
            question = line.strip()
            answer = batches(segment) if question == "batch" else describe(segment, question)
            print(answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
