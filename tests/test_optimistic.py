"""Transactions that make nobody wait: `atomic` functions, and reading many structures at once."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import vasmem

Make = Callable[..., vasmem.Segment]
NAMES = [f"account {number}" for number in range(8)]
START = 1000


@pytest.fixture
def bank(segment: vasmem.Segment) -> Iterator[vasmem.Segment]:
    segment.hashmap("accounts").update(dict.fromkeys(NAMES, START))
    segment.hashmap("log")
    yield segment
    assert sum(segment["accounts"].values()) == START * len(NAMES)


def transfer(segment: vasmem.Segment, source: str, target: str, amount: int) -> None:
    accounts = segment["accounts"]
    accounts[source] -= amount
    accounts[target] += amount
    segment["log"].incr("transfers")


def test_it_returns_and_takes_what_the_function_does(bank: vasmem.Segment) -> None:
    @bank.atomic
    def add(a: int, *, b: int) -> int:
        """Adds."""
        bank["log"]["sum"] = a + b
        return a + b

    assert add(1, b=2) == 3
    assert bank["log"]["sum"] == 3
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."


def test_an_exception_undoes_it(bank: vasmem.Segment) -> None:
    @bank.atomic
    def failing() -> None:
        transfer(bank, NAMES[0], NAMES[1], 10)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert bank["accounts"][NAMES[0]] == START
    assert "transfers" not in bank["log"]


def test_it_runs_again_when_others_were_faster(bank: vasmem.Segment) -> None:
    accounts, runs = bank["accounts"], []

    def other() -> None:
        with vasmem.attach(bank.url) as mine:
            mine["accounts"][NAMES[0]] += 5
            mine["accounts"][NAMES[1]] -= 5

    @bank.atomic
    def double() -> int:
        runs.append(accounts[NAMES[0]])
        if len(runs) < 3:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        value = 2 * runs[-1]
        accounts[NAMES[0]], accounts[NAMES[1]] = value, accounts[NAMES[1]] - runs[-1]
        return value

    assert double() == 2 * (START + 10)
    assert runs == [START, START + 5, START + 10]


def test_an_exception_of_what_never_was_is_not_raised(bank: vasmem.Segment) -> None:
    accounts, runs = bank["accounts"], []

    def other() -> None:
        with vasmem.attach(bank.url) as mine, mine.transaction():
            mine["accounts"][NAMES[0]] -= 1
            mine["accounts"][NAMES[1]] += 1

    @bank.atomic
    def check() -> None:
        first = accounts[NAMES[0]]
        if not runs:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        runs.append(first)
        if first + accounts[NAMES[1]] != 2 * START:
            raise AssertionError("saw a state between two commits")

    check()
    assert len(runs) == 2


def test_nobody_starves(bank: vasmem.Segment) -> None:
    """A function that is spoilt in every run of its own makes all others wait in the end."""
    accounts, runs, go_on = bank["accounts"], [0], threading.Event()

    def disturb() -> None:
        with vasmem.attach(bank.url) as mine:
            while not go_on.is_set():
                transfer(mine, NAMES[0], NAMES[1], 1)

    @bank.atomic
    def slow() -> int:
        runs[0] += 1
        before = accounts[NAMES[0]]
        threading.Event().wait(0.02)
        accounts[NAMES[0]] = before
        return before

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        slow()
    finally:
        go_on.set()
        thread.join()
    assert runs[0] > 1


def test_many_threads_at_once(bank: vasmem.Segment) -> None:
    count = 60

    def work(number: int) -> None:
        move = bank.atomic(transfer)
        for step in range(count):
            move(bank, NAMES[(number + step) % 8], NAMES[(number * 3 + step + 1) % 8], step % 7)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bank["log"]["transfers"] == 4 * count


WORKER = """
import sys
import vasmem

url, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = [f"account {number}" for number in range(8)]
with vasmem.attach(url) as segment:
    accounts, log = segment["accounts"], segment["log"]

    @segment.atomic
    def move(source, target, amount):
        accounts[source] -= amount
        accounts[target] += amount
        log.incr("transfers")

    for step in range(count):
        move(names[(number + step) % 8], names[(number * 5 + step + 1) % 8], step % 9)
"""


def test_many_processes_at_once(bank: vasmem.Segment) -> None:
    count = 200
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, bank.url, str(number), str(count)], cwd="/")
        for number in range(3)
    ]
    accounts = bank["accounts"]
    while any(worker.poll() is None for worker in workers):
        try:
            with bank.transaction(readonly=True):
                assert sum(accounts.values()) == START * len(NAMES)
                assert sum(accounts.get_many(NAMES)) == START * len(NAMES)
        except vasmem.ConflictError:
            continue
    assert [worker.wait() for worker in workers] == [0] * 3
    assert bank["log"]["transfers"] == 3 * count


def test_inside_a_transaction_it_is_a_part(bank: vasmem.Segment) -> None:
    move = bank.atomic(transfer)
    with pytest.raises(ValueError, match="no"), bank.transaction():
        move(bank, NAMES[0], NAMES[1], 10)
        assert bank["accounts"][NAMES[0]] == START - 10
        raise ValueError("no")
    assert bank["accounts"][NAMES[0]] == START

    @bank.atomic
    def outer() -> None:
        move(bank, NAMES[0], NAMES[1], 10)
        with pytest.raises(ZeroDivisionError), bank.transaction():
            move(bank, NAMES[0], NAMES[1], 10)
            raise ZeroDivisionError

    outer()
    assert bank["accounts"][NAMES[0]] == START - 10


@pytest.mark.parametrize("readonly", [False, True])
def test_reading_is_consistent_or_fails(bank: vasmem.Segment, readonly: bool) -> None:
    with vasmem.attach(bank.url, readonly=readonly) as reader:
        accounts = reader["accounts"]
        conflict = pytest.raises(vasmem.ConflictError, match="run it again")
        with conflict, reader.transaction(readonly=True):
            assert accounts[NAMES[0]] == START
            transfer_elsewhere(bank, 10)
            total = accounts[NAMES[0]] + accounts[NAMES[1]]
            raise AssertionError(f"saw {total} between two commits")
        with reader.transaction(readonly=True):
            assert accounts[NAMES[0]] + accounts[NAMES[1]] == 2 * START
            assert dict(accounts) == dict(bank["accounts"])
        transfer_elsewhere(bank, -10)


def transfer_elsewhere(bank: vasmem.Segment, amount: int) -> None:
    def other() -> None:
        with vasmem.attach(bank.url) as mine, mine.transaction():
            transfer(mine, NAMES[0], NAMES[1], amount)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()


def test_reading_writes_nothing(bank: vasmem.Segment) -> None:
    accounts = bank["accounts"]
    refused = pytest.raises(vasmem.VasmemError, match="only reads")
    with refused, bank.transaction(readonly=True):
        accounts["new"] = 1
    with refused, bank.transaction(readonly=True), bank.transaction():
        accounts["new"] = 1
    with bank.transaction(readonly=True), bank.transaction(readonly=True):
        assert "new" not in accounts
    with bank.transaction():
        accounts[NAMES[0]] += 1
        with bank.transaction(readonly=True):
            assert accounts[NAMES[0]] == START + 1
        accounts[NAMES[0]] -= 1


def test_on_a_read_only_attachment(bank: vasmem.Segment) -> None:
    with vasmem.attach(bank.url, readonly=True) as reader:
        total = reader.atomic(lambda: sum(reader["accounts"].values()))
        assert total() == START * len(NAMES)
        with pytest.raises(vasmem.PermissionDenied), reader.transaction():
            raise AssertionError("it cannot be begun")
        reader.timeout = 0.05

        @reader.atomic
        def disturbed() -> None:
            reader["accounts"][NAMES[0]]
            transfer_elsewhere(bank, 0)

        with pytest.raises(vasmem.ConflictError, match="in each of its"):
            disturbed()


def test_only_plain_functions(segment: vasmem.Segment) -> None:
    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    for function in (coroutine, generator):
        with pytest.raises(vasmem.WrongType, match="plain function"):
            segment.atomic(function)
