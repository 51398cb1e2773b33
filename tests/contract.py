"""What every mapping and every backend must do, whichever it is."""

import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest

import vasmem
from vasmem.backends import Backend, Opened

CONTENT = b"formatted"
Place = Callable[[str], str]


def check_mapping(mapping: MutableMapping[Any, Any], items: Mapping[Any, Any]) -> None:
    """`mapping` starts empty and ends empty; `items` has at least three."""
    assert isinstance(mapping, MutableMapping)
    assert len(items) >= 3
    check_empty(mapping, absent=next(iter(items)))
    for number, (key, value) in enumerate(items.items(), 1):
        mapping[key] = value
        assert mapping[key] == value
        assert len(mapping) == number
    check_content(mapping, items)
    check_replace(mapping, items)
    check_remove(mapping, items)
    check_empty(mapping, absent=next(iter(items)))


def check_empty(mapping: MutableMapping[Any, Any], absent: object) -> None:
    assert len(mapping) == 0
    assert not mapping
    assert list(mapping) == []
    assert absent not in mapping
    assert mapping.get(absent) is None
    with pytest.raises(KeyError) as caught:
        mapping[absent]
    assert caught.value.args == (absent,)
    with pytest.raises(KeyError):
        del mapping[absent]
    with pytest.raises(KeyError):
        mapping.pop(absent)
    with pytest.raises(KeyError):
        mapping.popitem()


def check_content(mapping: MutableMapping[Any, Any], items: Mapping[Any, Any]) -> None:
    assert dict(mapping) == dict(items)
    assert mapping == items
    assert set(mapping) == set(items)
    assert dict(mapping.items()) == dict(items)
    assert sorted(map(repr, mapping.values())) == sorted(map(repr, items.values()))
    for key, value in items.items():
        assert key in mapping
        assert mapping.get(key, "default") == value


def check_replace(mapping: MutableMapping[Any, Any], items: Mapping[Any, Any]) -> None:
    (first, old), (_, other), *_ = items.items()
    mapping[first] = other
    assert mapping[first] == other
    assert len(mapping) == len(items)
    assert mapping.setdefault(first, old) == other
    mapping.update({first: old})
    assert mapping[first] == old


def check_remove(mapping: MutableMapping[Any, Any], items: Mapping[Any, Any]) -> None:
    first, second, *_ = items
    del mapping[first]
    assert first not in mapping
    assert len(mapping) == len(items) - 1
    assert mapping.pop(second) == items[second]
    assert mapping.pop(second, "default") == "default"
    mapping.setdefault(first, items[first])
    key, value = mapping.popitem()
    assert items[key] == value
    mapping.clear()


def check_backend(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`place` makes a path of a name. `tmp_path` becomes the working directory and stays empty."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(backend, Backend)
    assert [found.path for found in backend.list()] == []
    check_creation(backend, place)
    check_mode(backend, place)
    check_failed_creation(backend, place)
    check_opening(backend, place)
    check_removal(backend, place)
    check_names(backend, place)
    assert list(backend.list()) == []
    assert os.listdir(tmp_path) == []


def write_content(made: Opened) -> None:
    os.write(made.fd, CONTENT)


def make_segment(backend: Backend, path: str, mode: int = 0o600) -> None:
    backend.create(path, mode=mode, fill=write_content).close()


def check_creation(backend: Backend, place: Place) -> None:
    seen_inside: list[str] = []

    def fill(made: Opened) -> None:
        assert os.fstat(made.fd).st_size == 0
        assert made.lock_fd is not None
        seen_inside.extend(found.path for found in backend.list())
        write_content(made)

    made = backend.create(place("orders"), mode=0o600, fill=fill)
    assert seen_inside == [], "the name was visible before the segment was complete"
    found = backend.attributes(place("orders"))
    assert (found.path, found.mode) == (place("orders"), 0o600)
    assert len(CONTENT) <= found.size < 1 << 20
    assert list(backend.list()) == [found]
    with pytest.raises(vasmem.SegmentExists, match="orders"):
        backend.create(place("orders"), mode=0o600, fill=write_content)
    made.close()
    backend.remove(place("orders"))


def check_mode(backend: Backend, place: Place) -> None:
    umask = os.umask(0o077)
    try:
        for mode in (0o600, 0o640, 0o660, 0o666):
            make_segment(backend, place("orders"), mode)
            assert backend.attributes(place("orders")).mode == mode
            backend.remove(place("orders"))
    finally:
        os.umask(umask)
    for mode in (0o400, 0o700, 0o060, 0o4600):
        with pytest.raises(ValueError, match=f"{mode:#o}"):
            backend.create(place("orders"), mode=mode, fill=write_content)


def check_failed_creation(backend: Backend, place: Place) -> None:
    def fail(made: Opened) -> None:
        write_content(made)
        raise RuntimeError("no")

    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(RuntimeError, match="no"):
        backend.create(place("orders"), mode=0o600, fill=fail)
    assert list(backend.list()) == []
    assert os.listdir("/proc/self/fd") == descriptors
    make_segment(backend, place("orders"))

    def lose_race(made: Opened) -> None:
        write_content(made)
        make_segment(backend, place("other"))

    with pytest.raises(vasmem.SegmentExists):
        backend.create(place("other"), mode=0o600, fill=lose_race)
    assert sorted(found.path for found in backend.list()) == [place("orders"), place("other")]
    assert os.listdir("/proc/self/fd") == descriptors
    backend.remove(place("orders"))
    backend.remove(place("other"))


def check_opening(backend: Backend, place: Place) -> None:
    with pytest.raises(vasmem.SegmentNotFound, match="orders"):
        backend.open(place("orders"), readonly=False, owner=None)
    with pytest.raises(vasmem.SegmentNotFound, match="orders"):
        backend.attributes(place("orders"))
    make_segment(backend, place("orders"))
    opened = backend.open(place("orders"), readonly=False, owner=None)
    assert os.read(opened.fd, 100) == CONTENT
    assert opened.lock_fd is not None
    for fd in (opened.fd, opened.lock_fd):
        os.pwrite(fd, b"F", 0)
        assert not os.get_inheritable(fd)
    opened.close()
    opened = backend.open(place("orders"), readonly=True, owner=None)
    assert opened.lock_fd is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(opened.fd, b"X", 0)
    opened.close()
    backend.remove(place("orders"))


def check_removal(backend: Backend, place: Place) -> None:
    with pytest.raises(vasmem.SegmentNotFound, match="orders"):
        backend.remove(place("orders"))
    make_segment(backend, place("orders"))
    old = backend.open(place("orders"), readonly=False, owner=None)
    backend.remove(place("orders"))
    with pytest.raises(vasmem.SegmentNotFound):
        backend.open(place("orders"), readonly=False, owner=None)
    make_segment(backend, place("orders"))
    new = backend.open(place("orders"), readonly=False, owner=None)
    assert os.pread(old.fd, 100, 0) == CONTENT, "those who are inside go on"
    assert identities(old).isdisjoint(identities(new)), "an old lock guards a new segment"
    old.close()
    new.close()
    backend.remove(place("orders"))


def identities(opened: Opened) -> set[tuple[int, int]]:
    assert opened.lock_fd is not None
    found = [os.fstat(fd) for fd in (opened.fd, opened.lock_fd)]
    return {(each.st_dev, each.st_ino) for each in found}


def check_names(backend: Backend, place: Place) -> None:
    operations: list[Callable[[str], object]] = [
        lambda path: backend.create(path, mode=0o600, fill=write_content),
        lambda path: backend.open(path, readonly=True, owner=None),
        backend.attributes,
        backend.remove,
    ]
    for path in ("", *map(place, ("", "a\0b", ".", "..", "x" * 5000))):
        for operation in operations:
            with pytest.raises(ValueError, match="name"):
                operation(path)
