"""Run the main job: two programs that know only a name share a map, and one of them is killed.

packages_writer.py and packages_reader.py import nothing of each other and are no relatives: this
program starts both, kills writers, and compares what they said with what the reader says. It fails
if anything is wrong, takes some seconds, and leaves nothing behind.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import vasmem

HERE = Path(__file__).parent
NAME = f"packages-{os.getpid()}"
RANDOM_KILLS = 5


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")


class Program:
    """One of the two programs, running."""

    started: ClassVar[list[Program]] = []

    def __init__(self, title: str, file: str, *arguments: str) -> None:
        command = [sys.executable, str(HERE / file), NAME, *arguments]
        pipe = subprocess.PIPE
        self.title = title
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.started.append(self)

    def say(self, text: str) -> None:
        print(f"{self.title:10}{text}", flush=True)

    def wait_for(self, word: str) -> str:
        """Its next line with this word in it."""
        for line in self.process.stdout or ():
            if word in line:
                return line.strip()
        raise SystemExit(f"FAILED: {self.title} ended without saying {word!r}")

    def ask(self, question: str) -> str:
        print(question, file=self.process.stdin, flush=True)
        return self.wait_for("")

    def kill(self) -> list[str]:
        """End it by SIGKILL, which no program can notice; return what it had still printed."""
        self.process.kill()
        rest, _ = self.process.communicate()
        expect(self.process.returncode == -signal.SIGKILL, f"{self.title} ended by itself")
        return rest.splitlines()


def batch_of_all(reader: Program) -> int:
    """The one batch that all records are of, if they are."""
    answer = reader.ask("batch")
    expect(answer.startswith("all "), answer)
    return int(answer.split()[-1])


def kill_in_the_middle(reader: Program, writer: Program) -> None:
    writer.say(f"{writer.wait_for('has')}, its transaction is still open")
    before = batch_of_all(reader)
    reader.say(reader.ask("batch"))
    rest = writer.kill()
    expect(not any("committed" in line for line in rest), "the kill came too late; try again")
    print(f"          >>> SIGKILL for writer 1 in the middle of batch {before + 1} <<<")
    reader.say(f"{reader.ask('batch')}: nothing of the half batch is there")
    expect(batch_of_all(reader) == before, "a part of the half batch is there")


def go_on(reader: Program) -> None:
    before = batch_of_all(reader)
    writer = Program("writer 2", "packages_writer.py")
    writer.say(f"{writer.wait_for('begins')} for what the dead one had locked")
    writer.say(writer.wait_for("committed"))
    expect(batch_of_all(reader) > before, "writer 2 did not go on")
    writer.kill()


def kill_at_random(reader: Program) -> None:
    """Kills that may hit a commit; what a writer said is committed must be there."""
    first = batch_of_all(reader)
    for number in range(RANDOM_KILLS):
        writer = Program(f"writer {number + 3}", "packages_writer.py")
        said = [writer.wait_for("committed"), writer.wait_for("has")]
        time.sleep(random.uniform(0, 0.05))
        said += writer.kill()
        committed = max(int(line.split()[1]) for line in said if "committed" in line)
        expect(batch_of_all(reader) >= committed, f"batch {committed} was committed and is lost")
    print(f"          >>> SIGKILL for {RANDOM_KILLS} more writers, each at a random instant <<<")
    reader.say(f"{reader.ask('batch')}; {batch_of_all(reader) - first} batches were committed,")
    print("          and after each kill all records were of one batch, none of them lost")


def main() -> None:
    try:
        print(f"{NAME!r} is all that two programs know of each other, a writer and a reader.")
        writer = Program("writer 1", "packages_writer.py", "0.7")
        writer.say(f"{writer.wait_for('committed')} of packages of this machine")
        reader = Program("reader", "packages_reader.py")
        with vasmem.attach(NAME, readonly=True) as segment:
            reader.say(reader.ask(random.choice(list(segment["packages"]))))
        kill_in_the_middle(reader, writer)
        go_on(reader)
        kill_at_random(reader)
        with vasmem.attach(NAME) as segment:
            broken = segment.check()
            expect(broken == [], f"check found {broken}")
            print(f"check     finds nothing broken in the segment's {segment.used >> 10} KiB")
    finally:
        for program in Program.started:
            program.process.kill()
            program.process.communicate()
        if any(found.name == NAME for found in vasmem.segments()):
            vasmem.remove(NAME)


if __name__ == "__main__":
    main()
