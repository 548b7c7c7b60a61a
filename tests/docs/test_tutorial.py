"""The examples of specs/README.md pass the checks, and its tutorial runs as it is written.

In the page, a comment above a block says what it is: `<!-- file: NAME -->` is saved, `<!-- run -->` is executed and the
`text` block below it is what it prints (`...` stands for anything), `<!-- is: NAME -->` is what a file says by now, and
`<!-- after: NAME:LINE -->` is inserted below a line.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine import plans, project
from engine.generate.files import write_files
from engine.generate.generators import build_generated_files
from engine.spec import checks, yaml_source
from tests.conftest import ROOT
from tests.forked_dex import find_dex
from tests.pages import Block, read_blocks
from tests.plain_http import find_free_port

PAGE = ROOT / "specs" / "README.md"
TUTORIAL = "## Ten minutes"
#: What an example of the format does not say itself.
REST = {
    "spec": "spec: 1\n",
    "name": "example\n",
    "title": "title: Example\n",
    "operations": "operations: [test.example]\n",
    "table": "table: example\n",
    "row_name": "row_name: example\n",
    "fields": "fields:\n  company_name: {type: text, path: output.name}\n",
}


def split_page() -> tuple[str, str]:
    reference, tutorial = PAGE.read_text().split(TUTORIAL)
    return reference, tutorial


EXAMPLES = [block.text for block in read_blocks(split_page()[0]) if block.language == "yaml"]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[1].strip())
def test_an_example_passes_the_checks(text: str) -> None:
    data = yaml_source.parse_source(text, "specs/example.yaml").data
    rest = {**REST, "name": "name: example\n"}
    field = next(iter(data.get("fields", {"company_name": None})))
    rest["conflict"] = f"conflict: [org_id, {field}]\n"
    whole = text + "".join(line for key, line in rest.items() if key not in data)
    assert checks.check_sources([yaml_source.parse_source(whole, "specs/example.yaml")]).diagnostics == ()


def test_every_key_of_the_format_is_shown() -> None:
    keys = {"path", "normalize", "required", "on_missing", "filter", "description", "rows", "on_absent", "when"}
    keys |= {"operations", "slug", "indexes", "backfill", "conflict", "type", "fields"}
    assert [key for key in keys if not re.search(rf"^\s*{key}:", "\n".join(EXAMPLES), re.MULTILINE)] == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository, as far as commands need one, with its generated files up to date."""
    for name in ("engine", "api", "scripts", "specs", "migrations", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("src", "recorded-provider"):
        shutil.copytree(ROOT / "trigger" / name, tmp_path / "trigger" / name)
    for name in ("node_modules", "package.json", "tsconfig.json"):
        (tmp_path / "trigger" / name).symlink_to(ROOT / "trigger" / name)
    shutil.copytree(ROOT / "tests" / "cases", tmp_path / "tests" / "cases")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write_files(tmp_path, build_generated_files(plans.load_plans(project.find_project(tmp_path))))
    return tmp_path


def run_block(script: str, folder: Path, database: str, port: str) -> str:
    """Run a block as a shell would; what it prints to standard output."""
    path = os.pathsep.join([str(find_dex().parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": path,
            "DATABASE_URL": database,
            "DATA_ENGINE_API_URL": f"http://127.0.0.1:{port}",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def matches_output(wanted: str, found: str) -> bool:
    """Whether `found` is what the page prints; `...` stands for anything, a line of it for any lines or none."""
    lines = (_build_pattern(line) for line in wanted.strip().split("\n"))
    return re.fullmatch("".join(lines), found.strip() + "\n") is not None


def _build_pattern(line: str) -> str:
    return r"(?:.*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"


def insert_after(folder: Path, place: str, text: str) -> None:
    name, line = place.split(":", 1)
    content = (folder / name).read_text()
    assert content.count(line + "\n") == 1, f"{name} has `{line}` once"
    (folder / name).write_text(content.replace(line + "\n", f"{line}\n{text}"))


def list_steps() -> Iterator[tuple[Block, str | None]]:
    """Each block of the tutorial with what it is to print."""
    found = read_blocks(split_page()[1])
    for index, block in enumerate(found):
        after = found[index + 1] if index + 1 < len(found) else None
        yield block, after.text if after and after.language == "text" else None


def stop_server(folder: Path) -> None:
    """Stop the API that a block has started, where a later one did not."""
    noted = folder / ".data" / "serve.pid"
    if noted.is_file():
        with suppress(ProcessLookupError):
            os.kill(int(noted.read_text()), signal.SIGTERM)


def test_the_tutorial_runs_as_it_stands(clone: Path, empty_database: str) -> None:
    try:
        walk_through(clone, empty_database)
    finally:
        stop_server(clone)


def walk_through(clone: Path, database: str) -> None:
    port = str(find_free_port())
    ran, edited = 0, set()
    for block, printed in list_steps():
        what, _, place = block.note.partition(": ")
        match what:
            case "file":
                (clone / place).write_text(block.text)
            case "is":
                assert (clone / place).read_text() == block.text, f"{place} says something else by now"
            case "after":
                insert_after(clone, place, block.text)
                edited.add(place.split(":")[0])
            case "run":
                found = run_block(block.text.replace("8000", port), clone, database, port)
                assert printed is None or matches_output(printed, found), f"{block.text}\nprinted\n{found}"
                ran += 1
            case _:
                assert block.language in ("text", "sh"), f"what is this for?\n{block.text}"
    assert ran >= 9
    assert edited == {"specs/company_competitors.yaml", "specs/research_evidence.yaml"}, "an operation is YAML alone"
