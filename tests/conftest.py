"""Fixtures: a private place for segments, a segment of every backend, and what every test leaves.

After each test the structures of the segment must be sound, no segment may be left, and the process
may hold no descriptor or mapping of one.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import vasmem
from vasmem import backends

# How long an example takes says more about the machine's other work than about the code.
hypothesis.settings.register_profile("vasmem", deadline=None, print_blob=True)
hypothesis.settings.load_profile("vasmem")

# A directory in persistent memory, which the guest of tests/guest has. Elsewhere `dax` is emulated.
PERSISTENT = os.environ.get("VASMEM_TEST_PERSISTENT")
# Whether the kernel has our module, which that guest has, too.
WITH_MODULE = os.environ.get("VASMEM_TEST_MODULE")
# Whether the segments of all tests are attached with `guard`.
GUARD = "VASMEM_TEST_GUARD" in os.environ
_PLAIN = ("vas",) if WITH_MODULE else ("shm", "file", "dax")
BACKENDS = ("dax",) if PERSISTENT else _PLAIN
# Only root can start processes of several users. Whoever else runs the tests is told.
collect_ignore_glob = [] if os.geteuid() == 0 else ["test_permissions_*.py"]
# What these are about is done above all backends; a third one would only take time.
WITHOUT_DAX = {
    "test_cli.py",
    "test_cli_arrays.py",
    "test_cli_scan.py",
    "test_cli_small.py",
    "test_keys.py",
    "test_lifecycle_asyncio.py",
    "test_lifecycle_signals.py",
    "test_salvage_hostile.py",
}
# What the system calls every segment of our module.
NAMELESS = "/vas:"
# For tests of what an emulated medium has no part in.
PLAIN = pytest.mark.parametrize("backend", ["shm", "file"], indirect=True)
EMULATED = pytest.mark.parametrize("backend", ["dax"], indirect=True)
HOME = pytest.StashKey[Path]()


def pytest_report_header() -> list[str]:
    return [f"not run, needs root: tests/{pattern}" for pattern in collect_ignore_glob]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def is_left_out(item: pytest.Item) -> bool:
        chosen = getattr(item, "callspec", None)
        with_dax = chosen is not None and chosen.params.get("backend") == "dax"
        return with_dax and item.path.name in WITHOUT_DAX

    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not is_left_out(item)]


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of all segments of this test and its child processes."""
    directory = Path(tempfile.mkdtemp(prefix="vasmem-test-", dir=PERSISTENT or "/dev/shm"))
    directory.chmod(0o1777)
    monkeypatch.setenv("VASMEM_SHM_DIR", str(directory))
    # Child processes import what is installed, not the sources of the checkout.
    monkeypatch.chdir("/")
    for name in ("VASMEM_FILE_DIRS", "VASMEM_DAX_DIRS", "VASMEM_DAX_EMULATE"):
        monkeypatch.delenv(name, raising=False)
    request.node.stash[HOME] = directory
    yield directory
    left = sorted(path.name for path in directory.iterdir())
    shutil.rmtree(directory)
    assert left == [], "the test left these behind"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function) -> Iterator[None]:
    """Look for leaks when the last reference of the test and its fixtures is gone."""
    yield
    item.funcargs.clear()
    gc.collect()
    # A test that was skipped before it had one has none.
    if directory := item.stash.get(HOME, None):
        assert kept_by_the_kernel() == [], "segments and VASes that the test left behind"
        assert open_descriptors(directory) == [], "descriptors of segments are still open"
        assert mappings(directory) == [], "segments are still mapped"


def open_descriptors(directory: Path) -> list[str]:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [link for link in links if link.startswith((f"{directory}/", NAMELESS))]


def mappings(directory: Path) -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if f"{directory}/" in line or NAMELESS in line]


def kept_by_the_kernel() -> list[str]:
    """What our module has, where it is loaded."""
    return Path("/proc/vas").read_text().splitlines()[1:] if WITH_MODULE else []


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> backends.Backend:
    """The backend under test, whose segments are in `home`."""
    emulate = request.param == "dax" and not PERSISTENT
    if request.param in ("file", "dax"):
        monkeypatch.setenv(f"VASMEM_{request.param.upper()}_DIRS", str(home))
        monkeypatch.setenv("VASMEM_SHM_DIR", str(tmp_path))
    if emulate:
        monkeypatch.setenv("VASMEM_DAX_EMULATE", "1")
    return backends.get(request.param, emulate=emulate)


def files_of(backend: backends.Backend) -> int:
    """How many files a segment consists of."""
    return 3 if backend.promises.emulated else 2


@pytest.fixture
def place(backend: backends.Backend, home: Path) -> Callable[[str], str]:
    """Makes the path of a segment as the backend under test takes it."""
    return lambda name: name if backend.name in ("shm", "vas") else f"{home}/{name}"


@pytest.fixture
def url(backend: backends.Backend, place: Callable[[str], str]) -> Callable[[str], str]:
    """Makes the URL of a segment of the backend under test."""
    return lambda name: f"{backend.name}://{place(name)}"


@pytest.fixture
def make(url: Callable[[str], str]) -> Iterator[Callable[..., vasmem.Segment]]:
    """Creates segments, which are checked and removed after the test."""
    made: list[vasmem.Segment] = []

    def create(name: str = "test", **options: object) -> vasmem.Segment:
        segment = vasmem.create(url(name), **{"max_size": "1G", "guard": GUARD, **options})
        made.append(segment)
        return segment

    yield create
    violations = []
    for segment in made:
        with vasmem.attach(segment.url) as fresh:
            violations += fresh.check()
        segment.close()
        vasmem.remove(segment.url)
    made.clear()
    assert violations == []


@pytest.fixture
def segment(make: Callable[..., vasmem.Segment]) -> vasmem.Segment:
    return make()


@pytest.fixture(params=["vas://" if WITH_MODULE else ""])
def scheme(request: pytest.FixtureRequest) -> str:
    """What names of VASes, and of the segments that they hold, begin with."""
    return str(request.param)


@pytest.fixture
def trading(scheme: str) -> Iterator[vasmem.Vas]:
    """A VAS with two segments."""
    names = [f"{scheme}{name}" for name in ("orders", "prices")]
    for name in names:
        vasmem.create(name, max_size="64M").close()
    with vasmem.Vas.create(f"{scheme}trading") as vas:
        vas.add("orders")
        vas.add("prices", readonly=True)
        yield vas
    vasmem.Vas.remove(f"{scheme}trading")
    for name in names:
        vasmem.remove(name)
