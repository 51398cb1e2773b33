"""Arrays against numpy's own, in transactions that are undone at random."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import vasmem

DTYPES = st.sampled_from(["u1", "f8", "S3", [("a", "u2"), ("b", "S5")]])
SEEDS = st.integers(0, 1 << 30)


class Undone(Exception):
    """Ends a transaction that is to be undone."""


class Arrays(RuleBasedStateMachine):
    """`open` holds the transactions that are under way, `models` what each level would leave."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.segment = vasmem.create(self.url)
        self.open: list[Any] = []
        self.models: list[dict[str, np.ndarray[Any, Any]]] = [{}]
        self.views: list[tuple[Any, Any]] = []

    def _some(self, shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> Any:
        letters = np.random.default_rng(seed).integers(65, 90, (*shape, dtype.itemsize), "u1")
        values = np.zeros(shape, dtype)
        values[...] = np.ndarray(shape, dtype, letters)
        return values

    def _one(self, name: str) -> tuple[Any, np.ndarray[Any, Any]]:
        return self.segment[name], self.models[-1][name]

    @rule(
        name=st.sampled_from("ab"),
        dtype=DTYPES,
        rows=st.integers(0, 400),
        inner=st.sampled_from([(), (3,), (2, 5), (700,)]),
    )
    def create(self, name: str, dtype: Any, rows: int, inner: tuple[int, ...]) -> None:
        if name in self.models[-1]:
            del self.segment[name]
        self.models[-1][name] = np.zeros((rows, *inner), dtype)
        self.segment.array(name, (rows, *inner), dtype)

    @rule(data=st.data(), seed=SEEDS)
    def update(self, data: st.DataObject, seed: int) -> None:
        for name in self.models[-1]:
            array, model = self._one(name)
            n = len(model)
            index = data.draw(
                st.one_of(
                    st.slices(n),
                    st.lists(st.integers(-n, n - 1), max_size=9) if n else st.just([]),
                    st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)
                    if n
                    else st.just([]),
                    st.just(...),
                )
            )
            if model.dtype.names and seed % 3 == 0:
                model = model["b"]
                array, target = _Field(array), model
            else:
                target = model
            if seed % 5 == 0 and model.ndim > 1:
                index = (*(index if isinstance(index, tuple) else (index,)), 0)
            values = self._some(np.shape(target[index]), target.dtype, seed)
            array[index] = values
            target[index] = values

    @rule(name=st.sampled_from("ab"), rows=st.integers(0, 300), seed=SEEDS)
    def extend(self, name: str, rows: int, seed: int) -> None:
        if name in self.models[-1]:
            array, model = self._one(name)
            values = self._some((rows, *model.shape[1:]), model.dtype, seed)
            array.extend(values)
            for value in values[:3]:
                array.append(value)
            self.models[-1][name] = np.concatenate([model, values, values[:3]])

    @rule(name=st.sampled_from("ab"), rows=st.integers(0, 500))
    def resize(self, name: str, rows: int) -> None:
        if name in self.models[-1]:
            array, model = self._one(name)
            array.resize(rows)
            larger = np.zeros((max(rows, len(model)), *model.shape[1:]), model.dtype)
            larger[: len(model)] = model
            self.models[-1][name] = larger[:rows].copy()

    @rule()
    def reopen(self) -> None:
        if not self.open:
            self.segment.close()
            self.segment = vasmem.attach(self.url)

    @precondition(lambda self: not self.open)
    @rule(seed=SEEDS)
    def look(self, seed: int) -> None:
        """Keep views, some of which are written through as long as they are not stale."""
        for name, model in self.models[-1].items():
            array = self.segment[name]
            view = array.view
            if len(model):
                value = self._some((), model.dtype, seed)
                view[seed % len(model)] = value
                model[seed % len(model)] = value
            assert np.array_equal(view, model)
            assert not array.stale
            self.views.append((view, array))
        del self.views[:-6]

    @rule()
    def begin(self) -> None:
        if len(self.open) < 4:
            transaction = self.segment.transaction()
            transaction.__enter__()
            self.open.append(transaction)
            self.models.append({name: model.copy() for name, model in self.models[-1].items()})

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

    @rule()
    def compare(self) -> None:
        assert set(self.segment) == set(self.models[-1])
        for name, model in self.models[-1].items():
            array = self.segment[name]
            assert (array.shape, array.dtype) == (model.shape, model.dtype)
            assert np.array_equal(array.read(), model)
        for view, _ in self.views:
            view.copy()  # it is still there

    def teardown(self) -> None:
        try:
            while self.open:
                self.commit()
            self.compare()
            self.views.clear()
            assert self.segment.check() == []
        finally:
            self.segment.close()
            vasmem.remove(self.url)


class _Field:
    """Assigns to a field of rows, as numpy does through `array["b"]`."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __setitem__(self, index: Any, value: Any) -> None:
        rows = self.array.read()
        rows["b"][index] = value
        self.array["b"] = rows["b"]


def test_against_numpy(url: Callable[[str], str]) -> None:
    machine = type("Machine", (Arrays,), {"url": url("model")})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
