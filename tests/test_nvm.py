"""Emulated segments: counters, wear, latency model, `vasmem nvm`, and what is emulated at all."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EMULATED, PLAIN

import vasmem
from vasmem import _core
from vasmem.backends import dax
from vasmem.emulation import PRESETS

Make = Callable[..., vasmem.Segment]
Url = Callable[[str], str]
VALUE = bytes(range(100))


def key(number: int) -> bytes:
    return b"%016d" % (number * 2654435761 % 2**32)


def spent(segment: vasmem.Segment, deed: Callable[[], object]) -> dict[str, int]:
    before = segment.nvm()
    deed()
    return {name: count - before[name] for name, count in segment.nvm().items()}


@EMULATED
def test_each_put_takes_two_fences_and_few_lines(make: Make) -> None:
    segment = make(size="8M")
    items = segment.hashmap("items", raw=True)
    inserts = [spent(segment, lambda n=n: items.update({key(n): VALUE})) for n in range(500)]
    updates = [spent(segment, lambda n=n: items.update({key(n): VALUE[::-1]})) for n in range(500)]
    assert sorted(one["lines"] for one in inserts)[250] <= 9
    assert sorted(one["lines"] for one in updates)[250] <= 8
    # An insert may also split a table, or make a run of blocks.
    assert {one["fences"] for one in inserts if one["commits"] == 1} <= {2, 3}
    assert sorted(one["fences"] for one in inserts)[250] == 2
    assert {one["fences"] for one in updates} == {2}
    assert {one["bytes_asked"] for one in updates} == {104}
    items[b"first"] = bytes(10_000)  # makes a run for the nodes of large values
    large = spent(segment, lambda: items.update({b"large": bytes(10_000)}))
    assert (large["commits"], large["fences"]) == (1, 3)
    assert spent(segment, lambda: items[key(3)])["lines"] == 0


@EMULATED
def test_wear_is_counted_where_it_happens(make: Make) -> None:
    segment = make()
    counter = segment.counter("hits")
    before = dict(zip(*map(list, segment.wear()), strict=True))
    for _ in range(1000):
        counter.incr()
    lines, times = segment.wear()
    after = dict(zip(lines.tolist(), times.tolist(), strict=True))
    grown = {line: count - before.get(line, 0) for line, count in after.items()}
    home = [line for line, count in grown.items() if count == 1000 and line >= 16 << 14]
    assert len(home) == 1, "the counter is one node"
    assert max(grown.values()) >= 1000


@EMULATED
def test_another_process_shows_it(make: Make, tmp_path: Path) -> None:
    segment = make()
    segment.hashmap("items").update({number: number for number in range(100)})
    png = tmp_path / "wear.png"
    command = [sys.executable, "-m", "vasmem", "nvm", segment.url]
    shown = subprocess.run([*command, "--json"], capture_output=True, check=True, text=True)
    found = json.loads(shown.stdout)
    assert {name: found[name] for name in segment.nvm()} == segment.nvm()
    assert found["most_worn"][0]["times"] == int(segment.wear()[1].max())
    assert found["write_amplification"] > 1
    table = subprocess.run(
        [*command, "--png", str(png)], capture_output=True, check=True, text=True
    )
    assert "fences" in table.stdout
    assert png.read_bytes().startswith(b"\x89PNG\r\n")


@PLAIN
def test_what_is_not_emulated_has_none_of_it(make: Make, url: Url) -> None:
    segment = make()
    deeds: list[Callable[[], object]] = [segment.nvm, segment.wear, segment.crash]
    for deed in deeds:
        with pytest.raises(vasmem.VasmemError, match="not emulated"):
            deed()
    with pytest.raises(ValueError, match="for the backend dax"):
        vasmem.create(url("other"), emulate=True)


def test_a_file_elsewhere_is_no_persistent_memory(home: Path) -> None:
    url = f"dax://{home}/orders"
    with pytest.raises(vasmem.BackendUnavailable, match=r"MAP_SYNC.*-o dax.*emulate=True"):
        vasmem.create(url)
    with pytest.raises(vasmem.BackendUnavailable, match=r"\(emulated\) does not promise"):
        vasmem.create(url, emulate=True, promise="power")
    with vasmem.create(url, emulate=True) as segment:
        assert str(segment.promises) == "kill+power (emulated)"
    with vasmem.attach(url) as segment:
        assert segment.promises.emulated
    with pytest.raises(vasmem.BackendUnavailable, match="does not promise"):
        vasmem.attach(url, promise="power")
    vasmem.remove(url)


def test_the_environment_may_say_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"dax://{home}/orders"
    monkeypatch.setenv("VASMEM_DAX_EMULATE", "optane-100")
    with vasmem.open(url) as segment:
        assert segment.nvm()["fence_ns"] == PRESETS["optane-100"].fence_ns
    vasmem.remove(url)
    monkeypatch.setenv("VASMEM_DAX_EMULATE", "floppy")
    with pytest.raises(ValueError, match="optane-100"):
        vasmem.open(url)


def test_a_slow_medium_is_slow(home: Path) -> None:
    url = f"dax://{home}/orders"
    slow = vasmem.Emulation(fence_ns=2_000_000, line_ns=100_000, write_bytes_per_s=1_000_000)
    with vasmem.create(url, emulate=slow) as segment:
        counter = segment.counter("hits")

        def hit() -> None:
            for _ in range(10):
                counter.incr()

        begun = time.perf_counter()
        cost = spent(segment, hit)
        least = cost["fences"] * 0.002 + cost["lines"] * 0.0001
        assert time.perf_counter() - begun >= least
        with vasmem.attach(url, emulate=vasmem.Emulation()):
            assert segment.nvm()["line_ns"] == 0
    vasmem.remove(url)


@pytest.mark.parametrize("wrong", [{"fence_ns": -1}, {"line_ns": 0.5}, {"fence_ns": 1 << 60}])
def test_a_model_is_of_whole_numbers(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        vasmem.Emulation(**wrong)


@EMULATED
def test_who_may_only_read_needs_no_medium(make: Make, home: Path) -> None:
    segment = make()
    segment.hashmap("users")["ada"] = 1
    (medium,) = home.glob(".test.*.vasmem.media")
    medium.rename(home / "kept")
    with vasmem.attach(segment.url, readonly=True, emulate=True) as reader:
        assert dict(reader["users"]) == {"ada": 1}
        with pytest.raises(vasmem.VasmemError, match="not emulated"):
            reader.nvm()
    (home / "kept").rename(medium)


@EMULATED
def test_a_medium_that_is_none_is_refused(make: Make, home: Path) -> None:
    segment = make()
    segment.close()
    (medium,) = home.glob(".test.*.vasmem.media")
    size = medium.stat().st_size
    for wrong in (size, size + 1):
        medium.rename(home / "kept")
        with medium.open("wb") as file:
            file.truncate(wrong)
        medium.chmod(0o600)
        with pytest.raises(vasmem.VasmemError, match="medium of"):
            vasmem.attach(segment.url)
        medium.unlink()
        (home / "kept").rename(medium)


@EMULATED
def test_without_its_medium_it_gets_a_new_one(make: Make, home: Path) -> None:
    """As a segment's file does that was copied here alone."""
    segment = make()
    users = segment.hashmap("users")
    users["ada"] = 1
    segment.close()
    (medium,) = home.glob(".test.*.vasmem.media")
    medium.unlink()
    again = vasmem.attach(segment.url)
    again.hashmap("users")["bob"] = 2
    again.crash("none")
    with vasmem.attach(segment.url) as recovered:
        assert recovered.check() == []
        assert dict(recovered["users"]) == {"ada": 1, "bob": 2}


def test_regions_say_whether_caches_are_durable(tmp_path: Path) -> None:
    assert not dax.has_eadr(tmp_path / "none")
    assert not dax.has_eadr(tmp_path)
    for number, domain in enumerate(("cpu_cache", "cpu_cache", "memory_controller")):
        (tmp_path / f"region{number}").mkdir()
        assert not dax.has_eadr(tmp_path), "one of them does not say"
        (tmp_path / f"region{number}" / "persistence_domain").write_text(domain + "\n")
        assert dax.has_eadr(tmp_path) == (domain == "cpu_cache")


def test_what_writes_lines_back_is_told(home: Path) -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    best = next((name for name in ("clwb", "clflushopt") if name in flags), "clflush")
    assert _core.flush_method == best
    fd = os.open(home, os.O_TMPFILE | os.O_RDWR)
    assert _core.is_dax(fd) == (False, False)
    os.close(fd)
