"""The style rules of this repository, each a function from a file to the complaints about it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LINE_LENGTH_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = {".rs": 650, ".py": 350}
# Rust tests and Python tests may be longer files, not longer lines or functions.
TESTS = re.compile(r"(^|/)tests?(/|\.rs$)|(^|/)benches/")

# Where no emulator is, no guest can be booted; CI fails if none was.
MAY_SKIP = "tests/guest/conftest.py"
# Split, so that this file does not complain about itself.
UNFINISHED = re.compile(
    "|".join(
        (
            r"\bTO" r"DO\b",
            r"\bFIX" r"ME\b",
            r"\bX" r"XX\b",
            r"\bHA" r"CK\b",
            r"\bto" r"do!\(",
            r"\bunimpl" r"emented!\(",
            r"\bd" r"bg!\(",
            r"#\[ign" r"ore\b",
            r"mark\.sk" r"ip",
            r"mark\.xf" r"ail",
            r"pytest\.sk" r"ip\(",
            r"importorsk" r"ip",
            r"breakpo" r"int\(\)",
            r"NotImpl" r"ementedError",
        )
    )
)
# A path of the machine that someone happened to sit at.
PRIVATE_PATH = re.compile(r"/(?:home|root|Users|work)/\w")

# Which of ours each Python module may import: the arrows of docs/design.md. What is not named may
# import no other module of ours.
PYTHON_ARROWS = {
    "vasmem": {
        "backup",
        "btree",
        "counter",
        "damage",
        "emulated",
        "emulation",
        "errors",
        "hashmap",
        "listing",
        "lock",
        "opening",
        "promises",
        "queues",
        "segment",
        "sets",
        "vas",
    },
    "vasmem.attachment": set(),
    "vasmem.vas": {"_core", "attachment", "backends", "errors", "names", "opening", "segment"},
    "vasmem.errors": {"_core"},
    "vasmem.codec": {"_arrays", "_core"},
    "vasmem._arrays": {"_core"},
    "vasmem.promises": {"errors"},
    "vasmem.emulated": {"_core"},
    "vasmem.emulation": set(),
    "vasmem.btree": {"_core", "batches", "segment (types only)"},
    "vasmem.hashmap": {"_core", "batches", "segment (types only)"},
    "vasmem.sets": {"_core", "batches", "segment (types only)"},
    "vasmem.counter": {"_core", "segment (types only)"},
    "vasmem.lock": {"_core", "segment (types only)"},
    "vasmem.queues": {"_core", "segment (types only)"},
    "vasmem.huge": set(),
    "vasmem.segment": {
        "_core",
        "attachment",
        "array",
        "btree",
        "counter",
        "emulated",
        "errors",
        "hashmap",
        "huge",
        "lock",
        "memory",
        "names",
        "promises",
        "queues",
        "sets",
        "sizes",
        "transactions",
        "typed",
        "typed_btree",
    },
    "vasmem.memory": {"_core", "array", "errors", "segment (types only)"},
    "vasmem.rows": set(),
    "vasmem.array": {"_arrays", "_core", "errors", "rows", "segment (types only)"},
    "vasmem.dtypes": {"_arrays", "errors"},
    "vasmem.typed_btree": {
        "_arrays",
        "_core",
        "btree",
        "dtypes",
        "errors",
        "segment (types only)",
    },
    "vasmem.typed": {"_arrays", "_core", "dtypes", "errors", "segment (types only)"},
    "vasmem.opening": {
        "_core",
        "backends",
        "emulation",
        "errors",
        "huge",
        "names",
        "promises",
        "segment",
        "sizes",
    },
    "vasmem.transactions": {"_core", "errors"},
    "vasmem.backup": {"_core", "backends", "errors", "opening", "segment"},
    "vasmem.damage": {"_core", "backends", "dtypes", "opening", "promises", "sizes"},
    "vasmem.listing": {"backends", "errors", "names", "opening"},
    "vasmem.__main__": {"cli"},
    "vasmem.cli": {"cli"},
    "vasmem.cli.app": {"cli", "errors"},
    "vasmem.cli.data": {"cli", "opening", "segment"},
    "vasmem.cli.dump": {
        "_core",
        "batches",
        "btree",
        "cli",
        "counter",
        "dtypes",
        "hashmap",
        "lock",
        "opening",
        "queues",
        "segment",
        "sets",
    },
    "vasmem.cli.arrays": {"_arrays", "_core", "segment"},
    "vasmem.cli.small": {"counter", "queues", "segment", "sets"},
    "vasmem.cli.facts": {"cli", "errors", "opening", "segment", "sizes"},
    "vasmem.cli.listing": {"cli", "errors", "listing", "opening", "sizes"},
    "vasmem.cli.vas": {"cli", "vas"},
    "vasmem.cli.opening": {"cli", "errors", "listing", "opening", "segment"},
    "vasmem.cli.nvm": {"cli", "opening"},
    "vasmem.cli.restoring": {"backup", "cli"},
    "vasmem.cli.salvaging": {"cli", "damage"},
    "vasmem.cli.scan": {"_core", "cli", "errors", "opening", "queues", "sets"},
    "vasmem.cli.tagged": {"_core"},
    "vasmem.lab": {"lab (types only)"},
    "vasmem.lab.case": {"_core", "lab", "segment (types only)"},
    "vasmem.lab.enospc": {"_core", "errors", "lab", "segment (types only)"},
    "vasmem.lab.explorer": {"_core", "lab", "segment (types only)"},
    "vasmem.lab.ground": {"_core", "names", "promises", "segment", "sizes"},
    "vasmem.lab.images": {"_core", "lab", "segment (types only)"},
    "vasmem.lab.judge": {"_core", "errors", "lab", "segment (types only)"},
    "vasmem.lab.lab": {"lab"},
    "vasmem.lab.loading": {"lab"},
    "vasmem.lab.mutants": {"_core", "errors", "lab"},
    "vasmem.lab.omissions": {"_core", "lab"},
    "vasmem.lab.pictures": {"lab", "memory"},
    "vasmem.lab.places": {"lab", "memory", "segment (types only)"},
    "vasmem.lab.plugin": {"lab"},
    "vasmem.lab.reading": {"memory", "segment (types only)"},
    "vasmem.lab.report": {"lab"},
    "vasmem.lab.result": {"lab"},
    "vasmem.lab.shrink": {"_core", "lab", "memory"},
    "vasmem.lab.trace": {"_core", "lab", "memory", "segment (types only)"},
    "vasmem.lab.workloads": {"_core", "lab", "segment (types only)"},
    "vasmem.lab.zoo": {"lab"},
    "vasmem.lab.zoo.blocks": {"lab", "memory"},
    "vasmem.lab.zoo.log": {"lab", "memory"},
    "vasmem.lab.zoo.shared": {"lab", "memory"},
    "vasmem.lab.zoo.structure": {"lab", "memory", "segment (types only)"},
    "vasmem.lab.zoo.undo": {"lab", "memory"},
    "vasmem.lab.accounts": {"segment (types only)"},
    "vasmem.lab.kills": {"_core", "lab", "segment (types only)"},
    "vasmem.lab.machines": {"_core", "lab"},
    "vasmem.lab.selftest": {"lab"},
    "vasmem.cli.lab": {"cli", "lab"},
    "vasmem.bench.child": {"bench"},
    "vasmem.bench.children": {"bench"},
    "vasmem.bench.compare": {"bench"},
    "vasmem.bench.contestants": {"bench"},
    "vasmem.bench.contestants.base": {"bench"},
    "vasmem.bench.contestants.floor": {"bench"},
    "vasmem.bench.contestants.lmdb_store": {"bench"},
    "vasmem.bench.contestants.lsm": {"bench"},
    "vasmem.bench.contestants.mapping": {"bench"},
    "vasmem.bench.contestants.ours": {"bench", "opening"},
    "vasmem.bench.contestants.private": {"bench"},
    "vasmem.bench.contestants.raw": {"bench"},
    "vasmem.bench.contestants.servers": {"bench"},
    "vasmem.bench.contestants.sql": {"bench"},
    "vasmem.bench.lanes": {"bench"},
    "vasmem.bench.page": {"bench"},
    "vasmem.bench.pictures": {"bench"},
    "vasmem.bench.result": {"bench"},
    "vasmem.bench.run": {"bench"},
    "vasmem.bench.suites": {"bench"},
    "vasmem.bench.suites.array": {"bench", "opening"},
    "vasmem.bench.suites.attach": {"bench"},
    "vasmem.bench.suites.contend": {"bench"},
    "vasmem.bench.suites.durable": {"bench"},
    "vasmem.bench.suites.kv": {"bench"},
    "vasmem.bench.suites.ordered": {"bench"},
    "vasmem.bench.suites.recover": {"bench"},
    "vasmem.bench.tables": {"bench"},
    "vasmem.bench.ycsb": {"bench"},
    "vasmem.cli.bench": {"bench", "cli", "errors"},
    "vasmem.backends": {"backends", "errors"},
    "vasmem.backends.base": {"promises"},
    "vasmem.backends.common": {"backends", "errors"},
    "vasmem.backends.copies": {"_core", "backends", "errors"},
    "vasmem.backends.nameless": {"backends", "errors"},
    "vasmem.backends.companions": {"backends", "errors"},
    "vasmem.backends.owners": {"errors"},
    "vasmem.backends.naming": {"backends"},
    "vasmem.backends.shm": {"backends", "errors", "promises"},
    "vasmem.backends.vas": {"backends", "errors", "promises"},
    "vasmem.backends.vas.calls": {"errors"},
    "vasmem.backends.vas.spaces": {"backends", "errors"},
    "vasmem.backends.spaces": {"backends", "errors"},
    "vasmem.backends.paths": {"backends", "errors"},
    "vasmem.backends.file": {"backends", "promises"},
    "vasmem.backends.dax": {"_core", "backends", "errors", "promises"},
}
TYPES_ONLY = " (types only)"

# The only files of core that may say `unsafe`: mapping, atomics, copies, flushes, system calls,
# handlers, the tests that fork and truncate, and the floor of the benchmarks.
UNSAFE_FILES = {
    "core/floor/src/fences.rs",
    "core/floor/src/lib.rs",
    "core/floor/src/lock.rs",
    "core/floor/src/table.rs",
    "core/memory/src/copy.rs",
    "core/memory/src/domain.rs",
    "core/memory/src/flush.rs",
    "core/memory/src/fork.rs",
    "core/memory/src/lock.rs",
    "core/memory/src/region.rs",
    "core/memory/src/sigbus.rs",
    "core/memory/src/words.rs",
    "core/memory/tests/common/mod.rs",
    "core/memory/tests/vanish.rs",
    "core/py/src/descriptor.rs",
    "core/py/src/map/view.rs",
}


@dataclass(frozen=True)
class Source:
    """A file: its path inside the repository, and its text."""

    path: str
    text: str

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def long_file(source: Source) -> Iterator[str]:
    lines_max = FILE_LINES_MAX.get(source.suffix)
    if lines_max is None or TESTS.search(source.path):
        return
    if len(source.lines) > lines_max:
        yield f"{source.path}: {len(source.lines)} lines, at most {lines_max}"


def long_line(source: Source) -> Iterator[str]:
    if source.suffix not in FILE_LINES_MAX:
        return
    for number, line in enumerate(source.lines, 1):
        if len(line) > LINE_LENGTH_MAX:
            yield f"{source.path}:{number}: {len(line)} columns, at most {LINE_LENGTH_MAX}"


def long_function(source: Source) -> Iterator[str]:
    functions = {".py": python_functions, ".rs": rust_functions}.get(source.suffix)
    if functions is None:
        return
    for name, number, lines in functions(source.text):
        if lines > FUNCTION_LINES_MAX:
            where = f"{source.path}:{number}"
            yield f"{where}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"


def unfinished(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, 1):
        match = UNFINISHED.search(line)
        if match and not (source.path == MAY_SKIP and "skip" in match[0]):
            yield f"{source.path}:{number}: {match[0]} is not for main"


def private_path(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, 1):
        if match := PRIVATE_PATH.search(line):
            yield f"{source.path}:{number}: {match[0]}... exists on one machine only"


def trailing_space(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, 1):
        if line != line.rstrip():
            yield f"{source.path}:{number}: space at the end of the line"
    if source.text and not source.text.endswith("\n"):
        yield f"{source.path}: no line end at the end"


def import_arrow(source: Source) -> Iterator[str]:
    module = module_name(source.path)
    if module is None:
        return
    allowed = PYTHON_ARROWS.get(module, set())
    for number, target, types_only in python_imports(source.text):
        if target not in allowed and not (types_only and target + TYPES_ONLY in allowed):
            yield f"{source.path}:{number}: {module} may not import vasmem.{target}"


def unsafe_elsewhere(source: Source) -> Iterator[str]:
    shipped = source.suffix == ".rs" and source.path.startswith("core/")
    if not shipped or source.path in UNSAFE_FILES:
        return
    for number, line in enumerate(rust_code(source.text).splitlines(), 1):
        if re.search(r"\bunsafe\b|allow\([^)]*unsafe_code", line):
            yield f"{source.path}:{number}: unsafe is not for this file"


RULES = (
    long_file,
    long_line,
    long_function,
    unfinished,
    private_path,
    trailing_space,
    import_arrow,
    unsafe_elsewhere,
)


def module_name(path: str) -> str | None:
    """Name of the module a file of the package is imported as; None for other files."""
    folder, _, rest = path.partition("/")
    if folder not in ("vasmem", "backends") or not rest.endswith(".py"):
        return None
    package = "vasmem" if folder == "vasmem" else "vasmem.backends"
    stem = rest.removesuffix(".py").replace("/", ".")
    return f"{package}.{stem}".removesuffix(".__init__")


def python_imports(text: str) -> Iterator[tuple[int, str, bool]]:
    """Every import of a module of ours: line, name below vasmem, whether for type checkers only."""
    tree = ast.parse(text)
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            from_package = node.module == "vasmem"
            names = [f"vasmem.{alias.name}" for alias in node.names] if from_package else []
            names = names or [node.module]
        elif isinstance(node, ast.ImportFrom):
            names = ["vasmem.<relative>"]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in ("vasmem", "backends"):
                yield node.lineno, [*name.split("."), "<package>"][1], id(node) in typing_only


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Every function: name, line, number of lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def rust_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Every function with a body: name, line, number of lines."""
    code = rust_code(text)
    # Past the brackets of array types, which hold a semicolon, to the body or the end.
    for match in re.finditer(r"\bfn\s+(\w+)(?:\[[^\]]*\]|[^{;\[])*(?P<body>\{)?", code):
        if match["body"] is None:
            continue
        end = closing_brace(code, match.start("body"))
        lines = code.count("\n", match.start(), end) + 1
        yield match[1], code.count("\n", 0, match.start()) + 1, lines


def closing_brace(code: str, opening: int) -> int:
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


_RUST_NOISE = re.compile(
    r"""
    //[^\n]* | /\*.*?\*/ | r(?P<hashes>\#*)".*?"(?P=hashes) | "(?:\\.|[^"\\])*"
    | b?'(?:\\.[^']*|[^'\\])'
    """,
    re.DOTALL | re.VERBOSE,
)


def rust_code(text: str) -> str:
    """The text with comments, strings and characters blanked out; lines stay where they are."""
    return _RUST_NOISE.sub(lambda match: "\n" * match[0].count("\n"), text)
