"""Style is a test, and each rule has a canary: a text that it must complain about."""

import re
import subprocess
from pathlib import Path

import pytest
from tidy import FILE_LINES_MAX, PYTHON_ARROWS, RULES, UNSAFE_FILES, Source, module_name

ROOT = Path(__file__).parent.parent
TEXT = {".rs", ".py", ".pyi", ".md", ".toml", ".in", ".yml", ".sh", ""}

CANARIES = {
    "long_file": ("core/a.rs", "\n" * 651),
    "long_line": ("vasmem/a.py", "#" * 101 + "\n"),
    "long_function": (
        "core/a.rs",
        "fn f(x: [u8; 3]) -> char {\n    '{';\n    \"}\"; // }\n" + "    g();\n" * 70 + "}\n",
    ),
    "unfinished": ("core/a.rs", "fn f() { to" + "do!() }\n"),
    "private_path": ("docs/a.md", "see /ho" + "me/ada/notes\n"),
    "trailing_space": ("docs/a.md", "word \n"),
    "import_arrow": ("backends/shm.py", "from vasmem.opening import attach\n"),
    "unsafe_elsewhere": ("core/structs/src/a.rs", "fn f() { unsafe { g() } }\n"),
}


def sources() -> list[Source]:
    """Every text file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]
    texts = [path for path in paths if Path(path).suffix in TEXT and path != "LICENSE"]
    return [Source(path, (ROOT / path).read_text()) for path in sorted(set(texts))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_is_tidy(rule) -> None:
    found = sources()
    assert {Path(source.path).suffix for source in found} >= set(FILE_LINES_MAX)
    complaints = [complaint for source in found for complaint in rule(source)]
    assert complaints == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_complains_about_its_canary(rule) -> None:
    path, text = CANARIES[rule.__name__]
    assert len(list(rule(Source(path, text)))) == 1
    others = [other for other in RULES if other is not rule]
    assert [list(other(Source(path, text))) for other in others] == [[]] * len(others)


def test_arrows_have_no_circle() -> None:
    def reach(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"{' -> '.join(path)} -> {module}"
        for target in PYTHON_ARROWS.get(f"vasmem.{module}", ()):
            if " " not in target and target != module.partition(".")[0]:
                reach(target, (*path, module))

    for module in PYTHON_ARROWS:
        reach(module.removeprefix("vasmem").removeprefix("."), ())


def test_lists_name_only_what_exists() -> None:
    paths = {source.path for source in sources()}
    assert sorted(path for path in UNSAFE_FILES if path not in paths) == []
    assert sorted(set(PYTHON_ARROWS) - {module_name(path) for path in paths}) == []
    for path in UNSAFE_FILES:
        assert re.search(r"allow\([^)]*unsafe_code", (ROOT / path).read_text()), path
