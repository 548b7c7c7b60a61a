"""Pages name what exists: files, folders, names in files, make targets, commands with their options, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scripts.dex import app
from tests.conftest import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CLAUDE.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / name for name in ("tests/README.md", "trigger/README.md", "docs/SYSTEM_OVERVIEW.md", "docs/glossary.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
CODE = re.compile(r"`([^`\n]+)`")
#: A path of the repository: it has a slash and begins with one of the folders, or is a file of the root.
FOLDERS = ("engine", "api", "scripts", "specs", "migrations", "trigger", "tests", "docs", ".github", ".ci")
PATH = re.compile(rf"(?:(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./<>*{{}},-]*|[A-Z]+\.md|Makefile)(?:\(\))?")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")
#: `path` (`name`, `name`): the names stand in the file.
NAMED = re.compile(r"`([\w./-]+\.\w+)` \(((?:`\w+`(?:, )?)+)\)")
GROUP: Any = typer.main.get_command(app)


def list_code(text: str) -> Iterator[str]:
    """Yield what stands in backticks, outside of blocks."""
    yield from CODE.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def list_paths(page: Path) -> Iterator[str]:
    for code in list_code(page.read_text()):
        if PATH.fullmatch(code):
            yield code


def matches_file(path: str, folder: Path) -> bool:
    """Whether something of the repository has this path; `<name>`, `*` and `{a,b}` stand for any name."""
    pattern = re.sub(r"<\w+>|\{[\w,.]+\}|NNN_what", "*", path).rstrip("/")
    return any(any(base.glob(pattern)) for base in (ROOT, folder))


def find_file(name: str) -> Iterator[Path]:
    """Yield the files of our folders that have this name."""
    for folder in ("engine", "api", "scripts", "migrations", "tests", "trigger/src", "trigger/recorded-provider"):
        yield from (ROOT / folder).rglob(name)


def list_commands(page: Path) -> Iterator[str]:
    """Yield the commands of `dex` on a page: in backticks, and in indented or fenced blocks."""
    text = page.read_text()
    lines = [line for line in text.splitlines() if line.startswith(("    ", ".venv/bin/dex ", "dex "))]
    for source in [*list_code(text), *lines]:
        if match := re.search(r"(?:^|\s)(?:\.venv/bin/)?(dex (?!-)[a-z-]+(?: [^#|<]*)?)", source):
            yield re.sub(r"\s{2,}.*", "", match[1].strip())


def list_targets(page: Path) -> Iterator[str]:
    for code in [*list_code(page.read_text()), *re.findall(r"^ *(make [a-z ]+)", page.read_text(), re.MULTILINE)]:
        if code.startswith("make "):
            words = re.sub(r"\b[A-Z]+=.*", "", re.sub(r"\s{2,}.*", "", code)).split()[1:]
            yield from (word for word in words if re.fullmatch("[a-z]+", word))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_named_exists(page: Path) -> None:
    missing = [path for path in list_paths(page) if not matches_file(path, page.parent)]
    assert missing == []
    names = {code for code in list_code(page.read_text()) if re.fullmatch(r"[a-z_-]+\.(py|ts|sql)", code)}
    assert [name for name in sorted(names) if not any(find_file(name))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_name_stands_in_its_file(page: Path) -> None:
    for path, names in NAMED.findall(page.read_text()):
        text = (ROOT / path).read_text()
        for name in CODE.findall(names):
            assert re.search(rf"\b{name}\b", text), f"`{name}` is not in {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(list_targets(page)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_exists(page: Path) -> None:
    for text in list_commands(page):
        words = shlex.split(text.replace("\\", ""))[1:]
        command = find_command(words)
        assert command, f"`dex {words[0]}` is no command: {text}"
        options = {option for parameter in command.params for option in parameter.opts}
        used = [word.split("=")[0] for word in words if word.startswith("--")]
        assert set(used) <= {*options, "--help"}, f"{text}: takes {sorted(options)}"


def find_command(words: list[str]) -> Any:
    """Return the command that words name: one of `dex`, or one below such as `dex token create`."""
    command = GROUP.commands.get(words[0])
    below = getattr(command, "commands", {})
    return below.get(words[1], command) if words[1:] else command


def test_the_code_map_names_every_part() -> None:
    """A new folder or module is named in ARCHITECTURE.md, too."""
    named = set(list_paths(ROOT / "ARCHITECTURE.md"))
    for parent in (ROOT / "engine", ROOT / "api", ROOT / "trigger" / "src"):
        for part in sorted(parent.iterdir()):
            path = part.relative_to(ROOT).as_posix()
            if part.is_dir() and part.name != "__pycache__":
                assert any(name.startswith(f"{path}/") for name in named), f"`{path}/` is not in the code map"
            elif part.suffix == ".py" and part.name != "__init__.py":
                assert path in named, f"`{path}` is not in the code map"


def test_every_code_of_a_failed_step_or_run_is_on_the_page_of_errors() -> None:
    sources = [*(ROOT / "trigger" / "src").rglob("*.ts"), *(ROOT / "engine").glob("orders/*.py")]
    sources += (ROOT / "engine" / "runs").glob("*.sql")
    pattern = re.compile(r"""(?:\bcode: |\bcode=|'code', |"code": )["'](\w+)["']""")
    codes = {code for source in sources for code in pattern.findall(source.read_text())}
    assert {"missing_inputs", "budget_exceeded", "set_aside", "canceled"} <= codes
    page = (ROOT / "docs" / "errors.md").read_text()
    assert [code for code in sorted(codes) if f"| `{code}` |" not in page] == []


def test_every_migration_has_its_line_in_the_overview() -> None:
    numbers = [path.name[:3] for path in sorted((ROOT / "migrations").glob("*.sql"))]
    text = (ROOT / "docs" / "SYSTEM_OVERVIEW.md").read_text()
    assert re.findall(r"^\| (\d{3}) \|", text, re.MULTILINE) == numbers
