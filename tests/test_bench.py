"""`vasmem bench` measures every suite, at sizes so small that its figures mean nothing."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUITES = ("kv", "ordered", "array", "attach", "durable", "contend", "recover")
OURS = ("vasmem", "vasmem-btree", "vasmem-dax")


def bench(*words: str | Path, expected: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vasmem", "bench", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
        timeout=110,
    )
    assert done.returncode == expected, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run of everything, with every contestant that can run here."""
    folder = tmp_path_factory.mktemp("bench")
    bench("--quick", "--disk", folder, "--output", folder)
    return folder


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_every_suite_has_figures_of_every_contestant_that_can_run(whole: Path) -> None:
    found = result(whole)
    assert [*found["suites"]] == list(SUITES)
    taken = {(row["suite"], row["contestant"]) for row in found["rows"]}
    for suite in ("kv", "attach", "contend", "recover"):
        assert {(suite, "vasmem"), (suite, "lmdb"), (suite, "sqlite3")} <= taken
    assert {("kv", name) for name in (*OURS, "floor", "floor-locked", "dict")} <= taken
    assert {("ordered", "vasmem-btree"), ("ordered", "sorteddict")} <= taken
    assert {("durable", "vasmem-file"), ("durable", "vasmem-dax")} <= taken
    assert {("array", "vasmem"), ("array", "numpy-memmap"), ("array", "shared_memory")} <= taken
    assert all(figure > 0 for row in found["rows"] for figure in row["figures"])


def test_whoever_does_not_run_is_named_with_the_reason(whole: Path) -> None:
    found = result(whole)
    taken = {row["contestant"] for row in found["rows"]}
    for name, reason in found["missing"].items():
        assert name not in taken
        assert reason.startswith(("pip install ", "apt install ")), f"{name}: {reason}"
    assert taken == set(found["contestants"])
    assert all(facts["settings"] for facts in found["contestants"].values())


def test_facts_of_the_machine_are_recorded(whole: Path) -> None:
    found = result(whole)
    assert {"cpu", "cores", "kernel", "python", "packages"} <= set(found["machine"])
    assert found["options"]["records"] == "3000"


def test_csv_has_every_figure(whole: Path) -> None:
    with (whole / "result.csv").open() as file:
        lines = list(csv.DictReader(file))
    rows = result(whole)["rows"]
    assert [float(line["figure"]) for line in lines] == [n for row in rows for n in row["figures"]]
    assert {line["suite"] for line in lines} == set(SUITES)


def test_page_and_pictures_stand_alone(whole: Path) -> None:
    page = (whole / "page.html").read_text()
    assert page.count("data:image/png;base64,") == len(SUITES)
    assert "http://" not in page
    assert 'src="/' not in page
    for suite in SUITES:
        assert (whole / f"{suite}.png").read_bytes().startswith(b"\x89PNG")


def test_report_makes_them_again(whole: Path, tmp_path: Path) -> None:
    bench("report", whole / "result.json", tmp_path)
    assert (tmp_path / "result.csv").read_text() == (whole / "result.csv").read_text()
    assert (tmp_path / "page.html").exists()


def test_compare_tells_clear_changes_from_noise(whole: Path, tmp_path: Path) -> None:
    changed = result(whole)
    for row in changed["rows"]:
        if (row["suite"], row["operation"], row["contestant"]) == ("kv", "get", "vasmem"):
            row["figures"] = [figure * 3 for figure in row["figures"]]
    slower = tmp_path / "slower.json"
    slower.write_text(json.dumps(changed))
    table = bench("compare", whole / "result.json", slower).splitlines()
    (line,) = (line for line in table if {"kv", "get", "vasmem", "3.00"} <= set(line.split()))
    assert "clear" in line
    assert "noise" in bench("compare", whole / "result.json", whole / "result.json")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("cv",), "no suite 'cv'; there are kv, ordered"),
        (("kv", "--contestants", "mongo"), "no contestant 'mongo'; there are"),
        (("kv", "--directory", "/nowhere"), "/nowhere is no directory; see --directory"),
        (("compare", __file__, __file__), "is no result of `vasmem bench`"),
    ],
)
def test_bad_words_are_named(words: tuple[str, ...], complaint: str) -> None:
    assert complaint in " ".join(bench(*words, expected=2).split())
