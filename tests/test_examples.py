"""The examples and the code in the README run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vasmem

ROOT = Path(__file__).parent.parent
# The demo tells its story to a newcomer on one screen.
DEMO_LINES_MAX = 24
# Every example but the demo and its programs runs by itself.
SMALL = sorted((ROOT / "examples").glob("[0-9]*.py"))


def run(*arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_demo_tells_the_main_job(tmp_path: Path, home: Path) -> None:
    lines = run(ROOT / "examples" / "demo.py", cwd=tmp_path).splitlines()
    assert 5 <= len(lines) <= DEMO_LINES_MAX
    assert any("SIGKILL" in line for line in lines)
    assert any("check" in line for line in lines)
    assert list(home.iterdir()) == [], "the demo left a segment behind"


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_small_example_runs(path: Path, tmp_path: Path, home: Path) -> None:
    assert run(path, cwd=tmp_path)
    assert list(home.iterdir()) == [], "the example left a segment behind"


def test_programs_of_the_demo_do_not_know_each_other() -> None:
    for path in (ROOT / "examples").glob("packages_*.py"):
        imports = re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
        assert [name for name in imports if (ROOT / "examples" / f"{name}.py").exists()] == []


@pytest.mark.parametrize("page", ["README.md"])
def test_code_in_the_pages_runs(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks))
    run(program, cwd=tmp_path)
    for vas in vasmem.vases():
        vasmem.Vas.remove(vas.name)
    for left in vasmem.segments():
        vasmem.remove(left.name)
