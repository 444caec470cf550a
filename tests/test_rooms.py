"""The laws of the house's rooms: what may import what, and how large things may grow. Found by walking the tree."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("streaming", "model", "services")
EDGES = {"faust", "mode", "aiokafka", "kafka", "redis", "prometheus_client"}

# The modules that may do what pure ones may not; every other module of `streaming` and `model` is pure.
EDGE_MODULES = {
    "streaming.answering",
    "streaming.store",
    "streaming.batches",
    "streaming.app",
    "streaming.catalog_reader",
    "streaming.ends",
    "streaming.forgetting",
    "streaming.installation",
    "streaming.keeper",
    "streaming.merging",
    "streaming.outbox",
    "streaming.popularity",
    "streaming.processor",
    "streaming.queries",
    "streaming.reaching",
    "streaming.recall",
    "streaming.timers",
    "streaming.turns",
}

# The demo's own eyes beside the shop: they measure the whole from outside and are never imported by the shop's process.
MEASURING = {
    f"services.shop.{name}"
    for name in ("adapters_worth", "books", "claims", "demo", "oracle", "report", "spoiled", "summary", "view")
}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50  # its docstring apart

# Imports the modules of one line each, in one fresh process, and names the first that brought something forbidden.
PROBE = """
import importlib, sys
forbidden = set(sys.argv[1].split(","))
for name in sys.argv[2].split(","):
    importlib.import_module(name)
    found = sorted(f for f in forbidden if f in sys.modules)
    if found:
        sys.exit(f"{name} imports {', '.join(found)}")
"""


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below some folders of the tree."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the import name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(room: str) -> list[str]:
    """Return the import names of a room's modules; programs (`__main__`) apart."""
    return [module_name(path) for path in python_files(room) if path.stem != "__main__"]


def is_edge(name: str) -> bool:
    """Tell whether a module, or a package it lies in, may do what pure ones may not."""
    return any(name == edge or name.startswith(f"{edge}.") for edge in EDGE_MODULES)


def imported_by(names: list[str], forbidden: set[str]) -> str:
    """Import modules in a fresh process; return the last line of its complaint, or nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(sorted(forbidden)), ",".join(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().rpartition("\n")[2]


def ours_imported_in(path: Path) -> Iterator[str]:
    """Yield the modules of this tree that a file names in its import statements, wherever they stand."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base if "." in base else f"{base}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in ROOMS)


def strangers(room: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the imports of our own modules in a room that its law does not allow."""
    return [
        f"{module_name(path)} imports {name}"
        for path in python_files(room)
        if module_name(path) not in MEASURING
        for name in ours_imported_in(path)
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", ["streaming", "model"])
def test_pure_modules_touch_no_edge(room: str) -> None:
    """A pure module, imported in a fresh process, loads no Faust, Kafka, Redis or Prometheus client."""
    pure = [name for name in modules(room) if not is_edge(name)]
    assert imported_by(pure, EDGES) == ""


def test_streaming_needs_no_torch() -> None:
    """No module of streaming, edges included, loads torch."""
    assert imported_by(modules("streaming"), {"torch"}) == ""


def test_the_shop_knows_nothing_of_who_measures_it() -> None:
    """No module of the shop's process imports one of the demo's measuring modules."""
    shop = [path for path in python_files("services/shop") if module_name(path) not in MEASURING]
    found = {name for path in shop for name in ours_imported_in(path)}
    assert not [name for name in found for eye in MEASURING if name == eye or name.startswith(f"{eye}.")]


def test_the_shop_sees_topics_alone() -> None:
    """The simulated shop loads neither model nor agents, no Redis and no torch: it is a customer like any other."""
    shop = [name for name in modules("services/shop") if name not in MEASURING]
    assert imported_by(shop, {"torch", "faust", "redis", "model"}) == ""


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("streaming/contracts", ("streaming.contracts",)),
        ("streaming", ("streaming",)),
        ("model", ("model", "streaming.contracts")),
        ("services/shop", ("services.shop", "services.settings", "services.metrics", "streaming.contracts")),
    ],
)
def test_imports_go_one_way(room: str, allowed: tuple[str, ...]) -> None:
    """A room names in its imports only what its law allows, even inside functions."""
    assert strangers(room, allowed) == []


CLOCKS = {
    "time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip
GLOBAL_RANDOM = {"random.random", "random.choice", "random.randint", "random.shuffle", "random.sample", "random.seed"}
ENVIRONMENT = {"os.environ", "os.getenv"}


def test_pure_streaming_is_told_the_time() -> None:
    """The rules of streaming read no clock, no environment and no global randomness: they are given them."""
    found = [
        f"{module_name(path)}:{node.lineno} uses {ast.unparse(node)}"
        for path in python_files("streaming")
        if not is_edge(module_name(path))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and any(
            ast.unparse(node) == name or ast.unparse(node).endswith(f".{name}")
            for name in CLOCKS | GLOBAL_RANDOM | ENVIRONMENT
        )
    ]
    assert found == []


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function takes, its docstring apart."""
    docstring = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    docstring_lines = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines


def test_nothing_grows_too_large() -> None:
    """No file is longer than 300 lines, no function longer than 50."""
    found = []
    for path in python_files(*ROOMS, "tests", "benchmarks"):
        source = path.read_text()
        lines = source.count("\n")
        if lines > MAX_FILE_LINES:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines")
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {function_lines(node)} lines"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and function_lines(node) > MAX_FUNCTION_LINES
        ]
    assert found == []


def test_every_test_opens_with_its_truth() -> None:
    """Each test function has a docstring whose first line is a whole sentence."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files("tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not (ast.get_docstring(node) or "").split("\n")[0].endswith(".")
    ]
    assert found == []
