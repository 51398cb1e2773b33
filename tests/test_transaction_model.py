"""Transactions inside transactions, undone at random, against copies of dicts."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import vasmem

KEYS = st.integers(0, 60)
VALUES = st.one_of(st.integers(), st.binary(max_size=300), st.just("x" * 9_000))
NAMES = st.sampled_from(["one", "two"])


class Undone(Exception):
    """Ends a transaction that is to be undone."""


class Transactions(RuleBasedStateMachine):
    """`open` holds the transactions that are under way, `models` what each level would leave."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url)
        for name in ("one", "two"):
            self.segment.hashmap(name)
        self.open: list[Any] = []
        self.models: list[dict[str, dict[int, Any]]] = [{"one": {}, "two": {}}]

    @rule()
    def begin(self) -> None:
        if len(self.open) < 4:
            transaction = self.segment.transaction()
            transaction.__enter__()
            self.open.append(transaction)
            self.models.append({name: dict(model) for name, model in self.models[-1].items()})

    @precondition(lambda self: self.open)
    @rule()
    def commit(self) -> None:
        self.open.pop().__exit__(None, None, None)
        self.models[-2:] = [self.models[-1]]

    @precondition(lambda self: self.open)
    @rule()
    def undo(self) -> None:
        transaction, undone = self.open.pop(), Undone()
        self.models.pop()
        with pytest.raises(Undone):
            if not transaction.__exit__(Undone, undone, None):
                raise undone

    @rule(name=NAMES, key=KEYS, value=VALUES)
    def put(self, name: str, key: int, value: Any) -> None:
        self.segment[name][key] = self.models[-1][name][key] = value

    @rule(name=NAMES, keys=st.lists(KEYS, unique=True), value=VALUES)
    def update(self, name: str, keys: list[int], value: Any) -> None:
        self.segment[name].update(dict.fromkeys(keys, value))
        self.models[-1][name].update(dict.fromkeys(keys, value))

    @rule(name=NAMES, key=KEYS)
    def delete(self, name: str, key: int) -> None:
        assert self.segment[name].pop(key, None) == self.models[-1][name].pop(key, None)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        del self.segment[name]
        self.segment.hashmap(name)
        self.models[-1][name].clear()

    @rule(name=NAMES)
    def compare(self, name: str) -> None:
        structure, model = self.segment[name], self.models[-1][name]
        assert dict(structure) == model
        assert len(structure) == len(model)

    def teardown(self) -> None:
        while self.open:
            self.commit()
        found = {name: dict(self.segment[name]) for name in ("one", "two")}
        violations = self.segment.check()
        self.segment.close()
        vasmem.remove(self.url)
        assert violations == []
        assert found == self.models[-1]


def test_against_copies_of_dicts(url: Callable[[str], str]) -> None:
    machine = type("Machine", (Transactions,), {"url": url("model")})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None)
    )
