"""Transactions: all or nothing, across maps, also when the program fails in the middle."""

import os

import vasmem

NAME = f"example-{os.getpid()}"


def transfer(bank: vasmem.Segment, source: str, target: str, amount: int) -> None:
    """Move money; both accounts and the journal change together or not at all."""
    accounts, journal = bank["accounts"], bank["journal"]
    with bank.transaction():
        accounts[source] -= amount
        accounts[target] += amount
        journal[len(journal)] = (source, target, amount)
        if accounts[source] < 0:
            raise ValueError(f"{source} has not got {amount}")


with vasmem.create(NAME) as bank:
    try:
        bank.hashmap("accounts").update(ada=100, bob=0)
        bank.hashmap("journal")

        transfer(bank, "ada", "bob", 30)
        try:
            transfer(bank, "ada", "bob", 300)
        except ValueError as error:
            print("refused:", error)

        print(dict(bank["accounts"]), dict(bank["journal"]))
        assert dict(bank["accounts"]) == {"ada": 70, "bob": 30}
        assert dict(bank["journal"]) == {0: ("ada", "bob", 30)}
        assert bank.check() == []
    finally:
        vasmem.remove(NAME)
