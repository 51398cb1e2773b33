"""Typed B-trees against sortedcontainers.SortedDict, and what only they have."""

import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from sortedcontainers import SortedDict
from test_btree import TreeModel

import vasmem

Url = Callable[[str], str]
RECORD = np.dtype([("a", "<i2"), ("b", "S3"), ("c", "<u4", (2,))])
# For each dtype of keys those that come by chance, and a number of others.
KINDS: dict[str, tuple[Any, Any, Callable[[int], Any]]] = {
    "i8": ("i8", st.integers(-50, 50) | st.integers(-(2**63), 2**63 - 1), lambda n: n * 3 - 99),
    "u1": ("u1", st.integers(0, 255), lambda n: n % 256),
    "S16": (
        "S16",
        st.binary(max_size=3).map(lambda tail: (bytes(9) + tail).ljust(16, b"\0")),
        lambda n: b"%16d" % n,
    ),
    # Text, and the bytes of a record, come back without zeros at their ends.
    "U3": ("U3", st.text(max_size=3).filter(lambda key: key[-1:] != "\0"), lambda n: f"{n:x}"),
    "record": (
        np.dtype([("a", "i2"), ("b", "S3")]),
        st.tuples(st.integers(-3, 3), st.binary(max_size=3).filter(lambda b: b[-1:] != b"\0")),
        lambda n: (n % 1000 - 500, b"%3d" % (n % 7)),
    ),
}
VALUE_BYTES = 9


class TypedModel(TreeModel):
    """The typed tree against a SortedDict, through two handles, one read-only."""

    kind = "i8"

    def make_tree(self) -> Any:
        return self.segment.btree("tree", key=KINDS[self.kind][0], value=f"S{VALUE_BYTES}")

    def a_key(self) -> st.SearchStrategy[Any]:
        fresh = KINDS[self.kind][1]
        return st.sampled_from(list(self.model)) | fresh if self.model else fresh

    def a_value(self) -> st.SearchStrategy[bytes]:
        return st.binary(min_size=VALUE_BYTES, max_size=VALUE_BYTES)

    @initialize(count=st.sampled_from([0, 0, 5, 60, 3000]), sort=st.booleans())
    def fill(self, count: int, sort: bool) -> None:
        key = KINDS[self.kind][2]
        items = {key(n): b"%09d" % n for n in range(count)}
        pairs = sorted(items.items()) if sort else list(items.items())
        self.tree.update(pairs)
        self.model.update(pairs)

    def array(self, keys: list[Any]) -> np.ndarray:
        return np.array(keys, KINDS[self.kind][0])

    @rule(data=st.data())
    def batches(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(self.a_key(), max_size=40))
        values, found = self.seen.get_many(self.array(keys))
        assert found.tolist() == [key in self.model for key in keys]
        expected = [self.model.get(key, bytes(VALUE_BYTES)) for key in keys]
        assert values.tobytes() == b"".join(expected)
        gone = [self.model.pop(key, None) is not None for key in keys[:4]]
        assert self.tree.delete_many(self.array(keys[:4])).tolist() == gone

    @rule(
        data=st.data(),
        inclusive=st.tuples(st.booleans(), st.booleans()),
        reverse=st.booleans(),
        limit=st.none() | st.integers(0, 200) | st.just(5000),
    )
    def arrays(self, data: Any, inclusive: Any, reverse: bool, limit: int | None) -> None:
        low = data.draw(st.none() | self.a_key())
        high = data.draw(st.none() | self.a_key())
        expected = list(self.model.irange(low, high, inclusive, reverse))[:limit]
        for tree in (self.seen, self.tree):
            keys, values = tree.items_array(low, high, inclusive, reverse, limit)
            assert keys.tobytes() == self.array(expected).tobytes()
            assert values.tobytes() == b"".join(self.model[key] for key in expected)

    @rule(data=st.data())
    def prefixes(self, data: st.DataObject) -> None:
        if self.kind != "S16":
            with pytest.raises(vasmem.WrongType, match="dtype S"):
                self.seen.prefix(data.draw(self.a_key()) if self.kind != "u1" else b"a")
            return
        super().prefixes(data=data)


@pytest.mark.parametrize("kind", KINDS)
def test_against_sorteddict(url: Url, kind: str) -> None:
    model = type("Model", (TypedModel,), {"url": url("model"), "kind": kind})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("u8", [0, 1, 255, 256, 2**63, 2**64 - 1]),
        ("i4", [-(2**31), -257, -1, 0, 1, 2**31 - 1]),
        ("?", [False, True]),
        ("S5", [b"", b"\0\0\1", b"a", b"aa", b"b"]),
        ("U2", ["", "a", "b", "\uffff", "\U0001f600"]),
        ("V2", [b"\0\0", b"\0\1", b"\1\0"]),
        ("M8[s]", np.array(["NaT", "1960-01-01", "1970-01-01", "2030-01-01"], "M8[s]")),
        ("m8[us]", np.array([-1, 0, 1], "m8[us]")),
        (RECORD, [(-2, b"z", (9, 9)), (-2, b"z", (9, 256)), (1, b"a", (0, 0)), (1, b"b", (0, 0))]),
    ],
    ids=str,
)
def test_keys_have_the_order_of_their_dtype(
    segment: vasmem.Segment, key: Any, keys: list[Any]
) -> None:
    tree = segment.btree("tree", key=key, value="u2")
    in_order = np.array(keys, key)
    shuffled = np.random.default_rng(1).permutation(len(keys))
    tree.put_many(in_order[shuffled], shuffled)
    found, values = tree.items_array()
    assert found.tobytes() == in_order.tobytes()
    assert values.tolist() == list(range(len(keys)))
    assert found.dtype == np.dtype(key)
    assert [tree[key] for key in tree] == list(range(len(keys)))


def test_it_is_a_mapping_of_scalars(segment: vasmem.Segment) -> None:
    tree = segment.btree("ids", key="u8", value="f4")
    tree[3] = 1.5
    tree.update({4: 2, 5: 2.5})
    assert dict(tree) == {3: 1.5, 4: 2.0, 5: 2.5}
    assert type(tree[4]) is float
    assert tree[np.uint64(4)] == 2.0
    assert tree.incr(3, 0.1) == tree[3] == struct.unpack("f", struct.pack("f", 1.6))[0]
    assert tree.incr(9) == 1.0
    assert tree.modify(4, lambda value: value * 2) == 4.0
    assert tree.setdefault(7, 1) == 1.0
    assert tree.compare_and_set(7, 1, 8)
    assert not tree.compare_and_set(7, 1, 9)
    assert not tree.add(7, 1)
    assert tree.floor(6) == (5, 2.5)
    assert tree.popitem(0) == (3, tree.pop(3, 1.600000023841858))
    assert tree.keys()[-1] == 9
    assert repr(tree).startswith("<TypedBTree 'ids' of uint64 to float32")
    with pytest.raises(KeyError):
        tree[3]
    with pytest.raises(KeyError):
        del tree[3]
    with pytest.raises(ValueError, match="limit"):
        tree.items_array(limit=-1)


def test_what_has_no_place_is_refused(segment: vasmem.Segment) -> None:
    tree = segment.btree("ids", key="u8", value="f8")
    wrong = vasmem.WrongType
    for key, value, error in [
        ("7", 1.0, wrong),
        (-1, 1.0, ValueError),
        (2**64, 1.0, ValueError),
        (1.5, 1.0, ValueError),
        (1, "1.0", wrong),
        (1, None, wrong),
    ]:
        with pytest.raises(error):
            tree[key] = value
    for keys, error in [([1.5], wrong), (["a"], wrong), ([-1], ValueError), ([[1]], ValueError)]:
        for operation in (tree.get_many, tree.delete_many, lambda keys: tree.put_many(keys, [1.0])):
            with pytest.raises(error):
                operation(keys)
    with pytest.raises(ValueError, match="as many"):
        tree.put_many([1, 2], [1.0])
    with pytest.raises(wrong, match="nodes"):
        tree.view(1)
    with pytest.raises(wrong, match="dtype S"):
        tree.prefix(1)
    with pytest.raises(TypeError, match="not typed"):
        segment.btree("plain").items_array()
    assert len(tree) == 0
    assert tree.get_many([])[0].shape == tree.items_array()[1].shape == (0,)


@pytest.mark.parametrize("key", ["f8", "O", "U0", "nonsense", [("a", "f4")], "S300"])
def test_dtypes_that_are_no_keys(segment: vasmem.Segment, key: Any) -> None:
    with pytest.raises(vasmem.WrongType):
        segment.btree("ids", key=key, value="f8")
    assert "ids" not in segment


def test_it_keeps_its_types(segment: vasmem.Segment) -> None:
    tree = segment.btree("ids", key="u8", value=RECORD)
    tree[1] = (2, b"abc", (3, 4))
    with vasmem.attach(segment.url, readonly=True) as reader:
        again = reader["ids"]
        assert (again.key_dtype, again.value_dtype) == (np.dtype("u8"), RECORD)
        assert again.items_array()[1][0] == np.array((2, b"abc", (3, 4)), RECORD)
        with pytest.raises(vasmem.PermissionDenied):
            again[2] = (2, b"abc", (3, 4))
    with pytest.raises(vasmem.WrongType, match="uint64"):
        segment.btree("ids", key="i8", value=RECORD)
    for wrong in (segment.btree, segment.hashmap):
        with pytest.raises(vasmem.WrongType):
            wrong("ids")
    with pytest.raises(vasmem.WrongType):
        segment.hashmap("ids", key="u8", value=RECORD)
    segment.btree("plain")
    with pytest.raises(vasmem.WrongType):
        segment.btree("plain", key="u8", value="u8")
    with pytest.raises(KeyError):
        segment.btree("other", key="u8", value="u8", create=False)
    with pytest.raises(ValueError, match="both"):
        segment.btree("other", key="u8")
    kinds = {facts["name"]: facts["kind"] for facts in segment.info()["structures"]}
    assert kinds == {"ids": "btree typed", "plain": "btree"}
    copy = pickle.loads(pickle.dumps(tree))
    assert copy[1][:2] == tree[1][:2] == (2, b"abc")
    copy.segment.close()
    del segment["ids"]
    assert segment.check() == []
    with pytest.raises(vasmem.VasmemError, match="removed"):
        tree.items_array()


def test_in_transactions(segment: vasmem.Segment) -> None:
    tree = segment.btree("ids", key="u8", value="i8")
    numbers = np.arange(2000)
    with pytest.raises(ZeroDivisionError), segment.transaction():
        tree.put_many(numbers, numbers)
        assert tree.get_many(numbers)[0].tolist() == numbers.tolist()
        assert tree.items_array(limit=500)[0].tolist() == list(range(500))
        with pytest.raises(KeyError), segment.transaction():
            tree.clear()
            raise KeyError
        assert tree.delete_many(numbers[:10]).all()
        assert len(tree) == 1990
        raise ZeroDivisionError
    assert len(tree) == 0
    with segment.transaction():
        tree.put_many(numbers, -numbers)
        segment.btree("other", key="i2", value="i2")[1] = 2
    with segment.transaction(readonly=True):
        assert tree.items_array()[1].sum() == -numbers.sum()

    @segment.atomic
    def swap(a: int, b: int) -> None:
        tree[a], tree[b] = tree[b], tree[a]

    swap(1, 2)
    assert (tree[1], tree[2]) == (-2, -1)


def test_many_keys(segment: vasmem.Segment) -> None:
    tree = segment.btree("ids", key="i8", value="i8")
    numbers = np.random.default_rng(7).permutation(200_000) - 100_000
    for part in np.split(numbers, 40):
        tree.put_many(part, part * 2)
    model = SortedDict((number, number * 2) for number in numbers.tolist())
    keys, values = tree.items_array()
    assert keys.tolist() == list(model)
    assert values.tolist() == list(model.values())
    found_values, found = tree.get_many(numbers[::3])
    assert found.all()
    assert (found_values == numbers[::3] * 2).all()
    assert not tree.get_many([100_000, -100_001])[1].any()
    assert tree.items_array(-5, 5, (False, True))[0].tolist() == list(range(-4, 6))
    found, _ = tree.items_array(maximum=500, reverse=True, limit=2500)
    assert found.tolist() == list(range(500, -2000, -1))
    assert tree.delete_many(numbers).all()
    assert segment.check() == []


def test_dump_and_load(make: Callable[..., vasmem.Segment]) -> None:
    old, new = make("old"), make("new")
    tree = old.btree("points", key=[("x", "i4"), ("y", "i4")], value="S3")
    tree.update({(x, -x): b"%3d" % x for x in range(-20, 20)})
    old.btree("empty", key="M8[s]", value="c16")
    command = [sys.executable, "-m", "vasmem"]
    dumped = subprocess.run([*command, "dump", old.url], capture_output=True, check=True).stdout
    subprocess.run([*command, "load", new.url], input=dumped, check=True)
    assert dict(new["points"]) == dict(tree)
    assert new["points"].key_dtype == tree.key_dtype
    assert new["empty"].value_dtype == np.dtype("c16")
    scan = [*command, "scan", f"{new.url}/points", "--limit", "2", "--json"]
    lines = subprocess.run(scan, capture_output=True, check=True).stdout.splitlines()
    assert [b"[-20" in line or b"-20" in line for line in lines] == [True, False]
