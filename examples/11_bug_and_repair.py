"""A real bug in a transfer between accounts, the lab's picture of it, and its repair."""

import tempfile

from vasmem import lab

FIELDS = {"noted": 0, "old_a": 8, "old_b": 16, "a": 64, "b": 128}


def bank_of(segment):
    return segment.memory.area("bank", 4096, fields=FIELDS)


def prepare(segment):
    bank = bank_of(segment)
    bank.store(64, 100)
    bank.persist(64)


def recover(segment):  # after a crash: what was noted is put back
    bank = bank_of(segment)
    if bank.load(0):
        bank.store(64, bank.load(8))
        bank.store(128, bank.load(16))
        bank.flush(64)
        bank.flush(128)
        bank.fence()
        bank.store(0, 0)
        bank.persist(0)


def balances(segment):
    bank = bank_of(segment)
    return bank.load(64), bank.load(128)


def transfer(bank, amount, repaired):
    a, b = bank.load(64), bank.load(128)
    bank.store(8, a)
    bank.store(16, b)
    bank.store(0, 1)
    if repaired:  # the note must be durable before what it is about changes
        bank.persist(0, 24)
    bank.store(64, a - amount)
    bank.store(128, b + amount)
    bank.flush(0, 136)
    bank.fence()
    bank.store(0, 0)
    bank.persist(0)


OPTIONS = {"setup": prepare, "recover": recover, "contents": balances, "ops": [("transfer", 10)]}


@lab.workload(**OPTIONS)
def broken(segment, _, amount):
    transfer(bank_of(segment), amount, repaired=False)


@lab.workload(**OPTIONS)
def repaired(segment, _, amount):
    transfer(bank_of(segment), amount, repaired=True)


with tempfile.TemporaryDirectory() as folder:  # leave folder= out, and the picture stays
    found = lab.explore(broken, budget="5s", folder=folder)
    print(found.text())
    assert found.cases
    good = lab.explore(repaired, [lab.PowerCut(), lab.Kill()], budget="5s")
    print(good.check().text())
