"""Keep a shared map up to date with the packages of this machine, one batch after the other.

    python packages_writer.py SEGMENT [SECONDS]

Each batch is one transaction over all records, and stamps each of them with the batch's number:
whoever reads can see that a batch is there as a whole or not at all. SECONDS is how long a batch
takes, so that one can watch it. A second writer on the same segment goes on where the first ended.
"""

import sys
import time
from importlib.metadata import distributions
from pathlib import Path

import vasmem

DPKG = Path("/var/lib/dpkg/status")
Records = dict[str, dict[str, str]]


def from_dpkg() -> Records:
    """The records of Debian's package database: paragraphs of `Field: text` lines."""
    records = {}
    for paragraph in DPKG.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        lines = [line for line in paragraph.splitlines() if not line.startswith(" ")]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if name := fields.pop("Package", None):
            records[name] = fields
    return records


def from_python() -> Records:
    """The metadata of the Python distributions that are installed here."""
    found = {}
    for distribution in distributions():
        fields = dict(distribution.metadata.items())
        found[fields["Name"]] = fields
    return found


def write_batch(segment: vasmem.Segment, records: Records, seconds: float) -> None:
    packages, progress = segment.hashmap("packages"), segment.hashmap("progress")
    begin = time.monotonic()
    with segment.transaction():
        waited_ms = (time.monotonic() - begin) * 1000
        batch = progress.get("batch", 0) + 1
        print(f"batch {batch} begins, after waiting {waited_ms:.0f} ms", flush=True)
        for gone in set(packages) - set(records):
            del packages[gone]
        for number, (name, fields) in enumerate(records.items(), 1):
            packages[name] = {**fields, "batch": batch}
            time.sleep(seconds / len(records))
            if number == len(records) // 2:
                print(f"batch {batch} has {number} of {len(records)} records", flush=True)
        progress["batch"] = batch
    print(f"batch {batch} is committed, {len(records)} records", flush=True)


def main(name: str, seconds: str = "0") -> None:
    segment = vasmem.open(name)
    while True:
        records = from_dpkg() if DPKG.exists() else from_python()
        write_batch(segment, records, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
