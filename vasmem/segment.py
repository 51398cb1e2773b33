"""Segment: a named region of memory with structures in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

from vasmem import _core, transactions
from vasmem.attachment import Attachment
from vasmem.btree import BTree
from vasmem.counter import Counter
from vasmem.emulated import Emulated
from vasmem.errors import WrongType
from vasmem.hashmap import HashMap
from vasmem.huge import huge_bytes
from vasmem.lock import Lock
from vasmem.memory import HasMemory
from vasmem.names import Target
from vasmem.promises import Promises
from vasmem.queues import Queue
from vasmem.sets import Set
from vasmem.sizes import format_size

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from vasmem.array import Array
    from vasmem.typed import TypedHashMap
    from vasmem.typed_btree import TypedBTree

P = ParamSpec("P")
R = TypeVar("R")
# What has keys with values. A name may lead to other structures, too: a union of all of them could
# not be used without a cast.
Structure: TypeAlias = "HashMap[Any, Any] | BTree[Any, Any] | TypedHashMap"


class Segment(Emulated, HasMemory, Attachment, Mapping[str, Any]):
    """An attached segment, and the mapping of its structures by name.

    Made by `create`, `open` and `attach`. `close`, or leaving the `with` block, ends it.
    """

    def __init__(self, target: Target, core: _core.Segment, promises: Promises) -> None:
        self._target = target
        self._core = core
        self._promises = promises

    @property
    def name(self) -> str:
        """The name it was attached by, without `shm://`."""
        return str(self._target)

    @property
    def url(self) -> str:
        """The full name, backend included."""
        return self._target.url

    @property
    def uuid(self) -> bytes:
        """16 bytes that no other segment has, even one of the same name."""
        return self._core.uuid

    @property
    def promises(self) -> Promises:
        """What its bytes survive."""
        return self._promises

    @property
    def size(self) -> int:
        """Bytes backed now; grows by itself up to `max_size`."""
        return self._core.size

    @property
    def max_size(self) -> int:
        """Bytes it can grow to."""
        return self._core.max_size

    @property
    def used(self) -> int:
        """Bytes in use by structures and by the segment itself."""
        return self._core.used

    @property
    def writers(self) -> int:
        """Processes that have it attached and wrote; a killed one counts until it is replaced."""
        return len(self._core.writers())

    @property
    def readonly(self) -> bool:
        """Whether it was attached for reading only."""
        return self._core.readonly

    @property
    def guard(self) -> bool:
        """Whether it was attached for writing with `guard`."""
        return self._core.guard

    @property
    def timeout(self) -> float:
        """Seconds an operation waits for others before it raises LockTimeout; 10 at first."""
        return self._core.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._core.timeout = seconds

    @overload
    def hashmap(
        self, name: str, *, key: DTypeLike, value: DTypeLike, create: bool = True
    ) -> TypedHashMap: ...
    @overload
    def hashmap(
        self, name: str, *, raw: Literal[True], create: bool = True
    ) -> HashMap[bytes, bytes]: ...
    @overload
    def hashmap(
        self, name: str, *, raw: bool = False, create: bool = True
    ) -> HashMap[Any, Any]: ...
    def hashmap(
        self,
        name: str,
        *,
        raw: bool = False,
        key: DTypeLike | None = None,
        value: DTypeLike | None = None,
        create: bool = True,
    ) -> Any:
        """Open the hash map of that name; make it if there is none and `create` is true.

        A `raw` map takes bytes to bytes and encodes nothing. With the numpy dtypes `key` and
        `value` ("u8", "S16", records) it is a typed one, see TypedHashMap. Raises WrongType if the
        name is that of another kind of structure, KeyError if there is none and it may not be
        created.
        """
        if (key is None) != (value is None) or (raw and key is not None):
            raise ValueError(f"hash map {name!r}: give both key= and value=, or raw=, or none")
        if key is not None:
            return self._typed("hashmap", name, (key, value), create)
        made: HashMap[Any, Any] = HashMap(self._core, name, create, raw)
        made.segment = self
        return made

    @overload
    def btree(
        self, name: str, *, key: DTypeLike, value: DTypeLike, create: bool = True
    ) -> TypedBTree: ...
    @overload
    def btree(
        self, name: str, *, raw: Literal[True], create: bool = True
    ) -> BTree[bytes, bytes]: ...
    @overload
    def btree(self, name: str, *, raw: bool = False, create: bool = True) -> BTree[Any, Any]: ...
    def btree(
        self,
        name: str,
        *,
        raw: bool = False,
        key: DTypeLike | None = None,
        value: DTypeLike | None = None,
        create: bool = True,
    ) -> Any:
        """Open the B-tree of that name; make it if there is none and `create` is true.

        `raw`, `key` and `value` are as for `hashmap`, and so are the errors; see TypedBTree.
        """
        if (key is None) != (value is None) or (raw and key is not None):
            raise ValueError(f"B-tree {name!r}: give both key= and value=, or raw=, or none")
        if key is not None:
            return self._typed("btree", name, (key, value), create)
        made: BTree[Any, Any] = BTree(self._core, name, create, raw)
        made.segment = self
        return made

    @overload
    def set(self, name: str, *, raw: Literal[True], create: bool = True) -> Set[bytes]: ...
    @overload
    def set(self, name: str, *, raw: bool = False, create: bool = True) -> Set[Any]: ...
    def set(self, name: str, *, raw: bool = False, create: bool = True) -> Set[Any]:
        """Open the set of that name; make it if there is none and `create` is true.

        A `raw` set holds bytes and encodes nothing. Errors are as for `hashmap`.
        """
        made: Set[Any] = Set(self._core, name, create, raw)
        made.segment = self
        return made

    def counter(self, name: str, *, create: bool = True) -> Counter:
        """Open the counter of that name; make it, at 0, if there is none and `create` is true.

        Errors are as for `hashmap`.
        """
        made = Counter(self._core, name, create)
        made.segment = self
        return made

    def array(
        self,
        name: str,
        shape: int | Iterable[int] | None = None,
        dtype: DTypeLike | None = None,
        *,
        create: bool = True,
    ) -> Array:
        """Open the numpy array of that name; make it, of zeros, if there is none.

        `dtype` is any of a fixed size, records and sub-arrays included; of `shape`, the first axis
        grows. An array that is there may have another length, but raises WrongType if its dtype, or
        another axis, is not what is asked for. To make one takes both: ValueError without. KeyError
        if there is none and `create` is false.
        """
        # Imported with the first of them: numpy takes longer than all of vasmem.
        from vasmem.array import open_array

        return open_array(self, self._core, name, shape, dtype, create)

    def _typed(self, kind: str, name: str, types: tuple[Any, Any] | None, create: bool) -> Any:
        from vasmem.typed import open_typed  # with numpy, which takes longer than all of vasmem
        from vasmem.typed_btree import open_typed_btree

        opener: Any = open_typed if kind == "hashmap" else open_typed_btree
        return opener(self, self._core, name, types, create)

    def lock(self, name: str, *, create: bool = True) -> Lock:
        """Open the lock of that name; make it if there is none and `create` is true.

        Errors are as for `hashmap`.
        """
        made = Lock(self._core, name, create)
        made.segment = self
        return made

    @overload
    def queue(
        self,
        name: str,
        maxsize: int | None = None,
        *,
        raw: Literal[True],
        create: bool = True,
    ) -> Queue[bytes]: ...
    @overload
    def queue(
        self, name: str, maxsize: int | None = None, *, raw: bool = False, create: bool = True
    ) -> Queue[Any]: ...
    def queue(
        self, name: str, maxsize: int | None = None, *, raw: bool = False, create: bool = True
    ) -> Queue[Any]:
        """Open the queue of that name; make it if there is none and `create` is true.

        `maxsize`, up to 100,000, is the number of items that may wait in it; it is needed to make
        one, and ValueError is raised if one is there with another. A `raw` queue takes bytes and
        encodes nothing. Errors are as for `hashmap`.
        """
        made: Queue[Any] = Queue(self._core, name, maxsize, raw, create)
        made.segment = self
        return made

    def __getitem__(self, name: str) -> Any:
        kind, *options = dict(self._core.names())[name].split()
        if "typed" in options:
            return self._typed(kind, name, None, create=False)
        if kind in ("array", "counter", "lock"):
            return getattr(self, kind)(name, create=False)
        if kind in ("hashmap", "btree", "set", "queue"):
            return getattr(self, kind)(name, raw="raw" in options, create=False)
        raise WrongType(f"{name!r} in {self.name!r} is a {kind}, newer than this vasmem")

    def __delitem__(self, name: str) -> None:
        """Remove a structure and free its memory. Raises KeyError.

        A B-tree of more than a million keys is emptied bit by bit before its name goes, unless this
        is inside a transaction.
        """
        self._core.remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._core.names()])

    def __len__(self) -> int:
        return len(self._core.names())

    def __contains__(self, name: object) -> bool:
        return any(name == known for known, _ in self._core.names())

    def transaction(
        self, timeout: float | None = None, *, readonly: bool = False
    ) -> transactions.Transaction[Segment]:
        """All or nothing, across structures; an exception inside undoes everything.

        Others go on reading and see nothing before the end; writers wait. `timeout` in seconds
        bounds the wait for another transaction; LockTimeout names who holds it. Inside another
        transaction it is a part of that one, which an exception undoes alone.

        With `readonly` nothing can be written and nobody waits: all that is read inside was so at
        one time, or ConflictError tells that others changed it.
        """
        way: Literal["alone", "reading"] = "reading" if readonly else "alone"
        return transactions.Transaction(self._core, way, timeout, inside=self)

    def atomic(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorator: runs a function as one transaction, again and again until it commits.

        Others are not stopped: where they changed what it has read, its writes are forgotten and
        it runs anew, so it must do nothing else that counts; after some runs it makes them wait.
        An exception undoes everything. On a read-only attachment it reads consistently, and raises
        ConflictError if it could not within `timeout` seconds. Raises WrongType for coroutines.
        """
        return transactions.atomic(self._core, function)

    def check(self) -> list[tuple[int, str, str]]:
        """Walk everything and return what breaks which invariant: (number, place, text).

        An empty list means that all is well.
        """
        return self._core.check()

    def info(self) -> dict[str, Any]:
        """Facts for people, in plain dicts and lists; all but the sizes may change meanwhile.

        `size`, `max_size`, `used`, `incarnation`, `lanes_used` are numbers, and so is `huge`, the
        bytes that this process reaches by huge pages; `attached` is the number of the pids in
        `writers`. `structures`: dicts of `name`, `kind`, `length`, and `load`, the part of its
        slots in use. `lanes`: dicts of `lane`, `pid`, and `alive`, which is None for a read-only
        attachment. `heap`: bytes used and free, the largest free piece, and `classes`, dicts of
        blocks of one size. Walks the whole heap, and stops nobody.
        """
        facts = {"name": self.name, "backend": self._target.backend, "promises": str(self.promises)}
        return {**facts, "huge": huge_bytes(self._core.base_address), **self._core.info()}

    def sync(self) -> None:
        """Wait until all that is visible is as durable as the medium can make it."""
        self._core.sync()

    def close(self) -> None:
        """End this attachment; the segment and its name stay. Closing twice does nothing."""
        self._core.close()

    def __repr__(self) -> str:
        access = "read-only " if self.readonly else ""
        return (
            f"<Segment {self.name!r}, {access}"
            f"{format_size(self.used)} used of at most {format_size(self.max_size)}>"
        )
