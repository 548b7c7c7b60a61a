"""docs/dependencies.md names every package the project names, each with its reason; optional parts are optional."""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "dependencies.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
PARTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
#: What the optional parts install, as Python names it.
OPTIONAL_MODULES = ("pyarrow", "mcp", "distributed", "dask", "opentelemetry.sdk", "opentelemetry.exporter")


def read_section(title: str) -> list[tuple[str, ...]]:
    """Return the rows of a table without its header. Each has a reason."""
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in SECTIONS[title].splitlines()[1:]]
    rows = [row for row in rows if len(row) > 1][2:]
    assert rows and all(len(row[-1]) > 3 for row in rows), rows
    return rows


def read_requirements(name: str) -> list[str]:
    """Return the packages that a requirements file names."""
    lines = (ROOT / name).read_text().splitlines()
    return [name_package(line) for line in lines if line and line[0] not in "#-"]


def name_package(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found[0]


@pytest.mark.parametrize(
    ("title", "file"),
    [
        ("What runs", "requirements.in"),
        ("Tests and checks", "requirements-dev.in"),
        ("The set-up", "requirements-uv.in"),
        ("Benchmarks", "requirements-bench.in"),
    ],
)
def test_every_package_is_named_once_with_its_reason(title: str, file: str) -> None:
    assert Counter(row[0] for row in read_section(title)) == Counter(read_requirements(file))


def test_every_optional_part_and_nothing_else_is_optional() -> None:
    named = [(part, name_package(each)) for part, packages in PARTS.items() for each in packages]
    assert Counter(row[:2] for row in read_section("Optional parts")) == Counter(named)
    assert not {package for _, package in named} & set(read_requirements("requirements.in"))


def test_every_package_of_node_is_named() -> None:
    named = [("`requirements-node.in`", package) for package in read_requirements("requirements-node.in")]
    for folder in ("trigger", "api/console", "tests/console/browser"):
        file = json.loads((ROOT / folder / "package.json").read_text())
        named += [(folder, name) for kind in ("dependencies", "devDependencies") for name in file.get(kind, {})]
    assert Counter(row[:2] for row in read_section("Node")) == Counter(named)


def test_the_api_and_the_command_line_start_without_the_optional_parts() -> None:
    program = f"""
import sys
for name in {OPTIONAL_MODULES!r}:
    sys.modules[name] = None  # an import of it fails, as where it is not installed
import api.app, scripts.dex, engine.generated
scripts.dex.main(["check"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "4 spec(s): nothing wrong\n"), done.stderr
