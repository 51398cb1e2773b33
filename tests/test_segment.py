import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import vasmem
from vasmem.names import Target, parse_name
from vasmem.sizes import format_size, parse_size

Make = Callable[..., vasmem.Segment]
Url = Callable[[str], str]


def test_the_core_is_a_release_build() -> None:
    assert vasmem._core.build_profile == "release"
    assert "lab" not in vasmem._core.features


def test_every_public_name_is_there_and_documented() -> None:
    for name in vasmem.__all__:
        assert getattr(vasmem, name).__doc__, name


def test_create_attach_open_remove(url: Url) -> None:
    with pytest.raises(vasmem.SegmentNotFound, match=r"vasmem.segments\(\).*vasmem.create"):
        vasmem.attach(url("orders"))
    first = vasmem.create(url("orders"), size="2M", max_size="1G")
    assert (first.size, first.max_size, first.readonly) == (2 << 20, 1 << 30, False)
    with pytest.raises(vasmem.SegmentExists, match="remove it first"):
        vasmem.create(url("orders"))
    second = vasmem.attach(url("orders"))
    third = vasmem.open(url("orders"), size="4M", max_size="2G")
    assert first.uuid == second.uuid == third.uuid
    assert third.max_size == 1 << 30, "what exists keeps its own sizes"
    first.hashmap("users")["ada"] = 1
    assert third["users"]["ada"] == 1
    vasmem.remove(url("orders"))
    second.hashmap("users")["ada"] = 2
    assert first["users"]["ada"] == 2, "those who are inside go on"
    with pytest.raises(vasmem.SegmentNotFound):
        vasmem.remove(url("orders"))
    with vasmem.open(url("orders")) as new:
        assert new.uuid != first.uuid
        assert list(new) == []
        assert (new.size, new.max_size) == (1 << 20, 64 << 30)
    vasmem.remove(url("orders"))
    for segment in (first, second, third):
        assert segment.check() == []
        segment.close()


def test_the_standard_errors_fit_too(url: Url, make: Make) -> None:
    with pytest.raises(FileNotFoundError):
        vasmem.attach(url("missing"))
    make()
    with pytest.raises(FileExistsError):
        vasmem.create(url("test"))
    with vasmem.attach(url("test"), readonly=True) as reader, pytest.raises(PermissionError):
        reader.hashmap("users")


def test_close_is_final_and_repeatable(make: Make) -> None:
    segment = make()
    users = segment.hashmap("users")
    segment.close()
    segment.close()
    for operation in (
        lambda: segment.hashmap("users"),
        lambda: users["ada"],
        lambda: users.__setitem__("ada", 1),
        lambda: "ada" in users,
        lambda: len(users),
        lambda: list(users.items()),
        lambda: list(segment),
        lambda: segment.transaction().__enter__(),
        segment.check,
        segment.info,
        segment.sync,
    ):
        with pytest.raises((vasmem.VasmemError, ValueError), match="closed"):
            operation()
    assert "closed" in repr(users)
    assert segment.name in repr(segment)


def test_read_only_reads_and_never_writes(make: Make, home: Path) -> None:
    segment = make()
    segment.hashmap("users")["ada"] = {"balance": 10}
    (path,) = (path for path in home.iterdir() if not path.name.startswith("."))
    before = path.read_bytes()
    with vasmem.attach(segment.url, readonly=True) as reader:
        users = reader["users"]
        assert reader.readonly
        assert users["ada"] == {"balance": 10}
        assert list(users.items()) == [("ada", {"balance": 10})]
        assert reader.check() == []
        for operation in (
            lambda: users.__setitem__("bob", 1),
            lambda: users.__delitem__("ada"),
            lambda: reader.hashmap("more"),
            lambda: reader.__delitem__("users"),
            lambda: reader.transaction().__enter__(),
        ):
            with pytest.raises(vasmem.PermissionDenied, match="read-only"):
                operation()
    assert path.read_bytes() == before


def test_root_directory_is_a_mapping(segment: vasmem.Segment) -> None:
    assert isinstance(segment, Mapping)
    assert len(segment) == 0
    assert "users" not in segment
    with pytest.raises(KeyError, match="users"):
        segment["users"]
    with pytest.raises(KeyError, match="users"):
        del segment["users"]
    with pytest.raises(KeyError, match="users"):
        segment.hashmap("users", create=False)
    users, blobs = segment.hashmap("users"), segment.hashmap("blobs", raw=True)
    users["ada"] = 1
    blobs[b"k"] = b"v"
    assert sorted(segment) == ["blobs", "users"]
    assert len(segment) == 2
    assert "users" in segment
    assert segment["users"]["ada"] == 1
    assert segment["blobs"].raw
    assert segment.get("missing") is None
    with pytest.raises(vasmem.WrongType, match="users"):
        segment.hashmap("users", raw=True)
    with pytest.raises(vasmem.WrongType, match="blobs"):
        segment.hashmap("blobs")
    del segment["users"]
    assert list(segment) == ["blobs"]
    assert len(segment.hashmap("users")) == 0


def test_many_structures(segment: vasmem.Segment) -> None:
    names = {f"map {number}": number for number in range(300)}
    for name, number in names.items():
        segment.hashmap(name)["number"] = number
    assert set(segment) == set(names)
    assert {name: segment[name]["number"] for name in segment} == names
    for name in names:
        del segment[name]
    assert list(segment) == []


def test_removed_structures_give_their_memory_back(segment: vasmem.Segment) -> None:
    used = []
    for _ in range(5):
        blobs = segment.hashmap("blobs", raw=True)
        for number in range(200):
            blobs[b"%d" % number] = bytes(10_000)
        del segment["blobs"]
        used.append(segment.used)
    assert used[-1] <= used[0], "each round takes more"


def test_growth_and_its_end(make: Make) -> None:
    segment = make(size="1M", max_size="8M")
    blobs = segment.hashmap("blobs", raw=True)

    def fill() -> None:
        for number in range(10_000):
            blobs[b"%d" % number] = bytes(4096)

    with pytest.raises(vasmem.SegmentFull, match="max_size") as caught:
        fill()
    assert isinstance(caught.value, MemoryError)
    written = len(blobs)
    assert written > 1000
    assert segment.size <= segment.max_size == 8 << 20
    assert set(blobs) == {b"%d" % number for number in range(written)}
    assert segment.check() == []
    del blobs[b"0"]
    blobs[b"again"] = bytes(4096)


def test_segments_lists_all(make: Make) -> None:
    assert vasmem.segments() == []
    one, two = make("one"), make("two", mode=0o640)
    one.hashmap("users")
    two.hashmap("users")["ada"] = 1
    found = {info.name: info for info in vasmem.segments()}
    assert set(found) == {one.name, two.name}
    info = found[two.name]
    assert (info.used, info.mode) == (two.used, 0o640)
    assert two.used < two.size <= info.size
    assert info.attached == 1
    assert info.backend in two.url


def test_info_is_for_people(segment: vasmem.Segment) -> None:
    info = segment.info()
    assert info["name"] == segment.name
    assert info["promises"] == str(segment.promises)
    assert segment.name in repr(segment)
    assert segment.name in repr(segment.hashmap("users"))
    segment.sync()


def test_a_promise_that_is_not_given_is_refused(url: Url, make: Make) -> None:
    segment = make()
    assert segment.promises.kill
    vasmem.attach(segment.url, promise="kill").close()
    if segment.promises.power is not True:
        for function in (vasmem.create, vasmem.open, vasmem.attach):
            with pytest.raises(vasmem.BackendUnavailable, match="power failure"):
                function(url("durable"), promise="power")


def test_handles_pickle_as_name_and_identity(make: Make) -> None:
    segment = make()
    users = segment.hashmap("users")
    users["ada"] = 1
    dumped = pickle.dumps(users)
    assert len(dumped) < 300
    again = pickle.loads(dumped)
    again["bob"] = 2
    assert dict(users) == {"ada": 1, "bob": 2}
    again.segment.close()
    vasmem.remove(segment.url)
    with (
        vasmem.create(segment.url, max_size="1G"),
        pytest.raises(vasmem.SegmentNotFound, match="a later one of that name"),
    ):
        pickle.loads(dumped)


def test_one_of_many_openers_creates(url: Url) -> None:
    program = "import sys, vasmem; print(vasmem.open(sys.argv[1]).uuid.hex())"
    command = [sys.executable, "-c", program, url("test")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") for _ in range(6)]
    identities = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0] * 6
    assert len(identities) == 1
    vasmem.remove(url("test"))


def test_sizes_must_fit(url: Url, home: Path) -> None:
    with pytest.raises(ValueError, match="above its max_size"):
        vasmem.create(url("test"), size="2G", max_size="1G")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("512K", 512 << 10),
        ("64M", 64 << 20),
        (" 64 mb ", 64 << 20),
        ("8GiB", 8 << 30),
        ("1.5G", 3 << 29),
        ("2T", 2 << 40),
    ],
)
def test_sizes(text: int | str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "1X", "1 2", "1e9", 0, -5])
def test_what_is_no_size(text: int | str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("value", [None, 1.5, True, b"1M"])
def test_what_cannot_be_a_size(value: object) -> None:
    with pytest.raises(TypeError, match="a size is"):
        parse_size(value)


def test_sizes_as_text() -> None:
    sizes = {
        0: "0",
        1023: "1023",
        1024: "1.0K",
        3 << 29: "1.5G",
        5 << 40: "5.0T",
        5 << 50: "5120.0T",
    }
    assert {size: format_size(size) for size in sizes} == sizes


def test_names_are_urls() -> None:
    assert parse_name("orders") == parse_name("shm://orders") == Target("shm", "orders")
    assert parse_name("file:///var/lib/orders") == Target("file", "/var/lib/orders")
    assert str(parse_name("shm://orders")) == "orders"
    assert parse_name("orders").url == "shm://orders"
    assert str(Target("file", "/x")) == "file:///x"
    with pytest.raises(TypeError, match="not bytes"):
        parse_name(b"orders")
    with pytest.raises(vasmem.BackendUnavailable, match="no backend is named 'nosuch'"):
        vasmem.attach("nosuch://orders")
