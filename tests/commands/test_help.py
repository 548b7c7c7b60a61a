"""`dex --help`, `--version`, shell completion, and the examples in the help of each command."""

import os
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from engine.plans import find_plan
from engine.rows.query import build_query
from scripts.commands.database import parse_filters
from scripts.commands.options import Command, complete_spec
from scripts.dex import COMMANDS, GROUPS, app
from tests.conftest import ROOT, load_project_plans

DEX = Path(sys.executable).with_name("dex")
WIDTH = 80
GROUP: Any = typer.main.get_command(app)


@cache
def read_help(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH)})
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def list_examples(command: Command) -> list[str]:
    """Join lines that end with a backslash, as a shell does."""
    return "\n".join(command.examples).replace("\\\n", " ").splitlines()


def test_every_command_has_a_summary_that_ends_within_its_line() -> None:
    lines = read_help()
    names = [command.name for command in COMMANDS] + [group.name for group in GROUPS]
    summaries = {line.split()[0]: line for line in lines if line.startswith("  ") and line.split()[0] in names}
    assert sorted(summaries) == sorted(names)
    for name, line in summaries.items():
        assert len(line) <= WIDTH and line.endswith("."), f"the summary of `{name}` is cut: {line}"
        assert not line.endswith("..."), f"the summary of `{name}` is cut: {line}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_line_of_the_help_ends_within_the_width(command: Command) -> None:
    assert [line for line in read_help(command.name) if len(line) > WIDTH] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_argument_is_in_capitals(command: Command) -> None:
    usage = read_help(command.name)[0].partition("[OPTIONS]")[2]
    assert usage == usage.upper()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_says_what_it_is_for(command: Command) -> None:
    for parameter in GROUP.commands[command.name].params:
        assert getattr(parameter, "hidden", False) or getattr(parameter, "help", ""), parameter.name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_is_shown_and_is_one_the_command_takes(command: Command) -> None:
    assert command.examples
    lines = [line.strip() for line in read_help(command.name)]
    for line in command.examples:
        assert line.strip() in lines
    for example in list_examples(command):
        program, name, *arguments = shlex.split(example.split("<")[0])
        assert (program, name) == ("dex", command.name)
        GROUP.commands[name].make_context(name, arguments)  # parses, and runs nothing


def test_the_filters_of_the_examples_are_filters_of_their_spec() -> None:
    plans, questions = load_project_plans(), 0
    for command in COMMANDS:
        for example in list_examples(command):
            given = (
                GROUP.commands[command.name].make_context(command.name, shlex.split(example.split("<")[0])[2:]).params
            )
            if given.get("filters") and command.name in ("query", "export"):
                plan = find_plan(plans, given["spec"])
                assert build_query(plan, None, parse_filters(plan, given["filters"])).conditions
                questions += 1
    assert questions >= 2


@pytest.mark.parametrize(
    ("group", "command"),
    [(group.name, command) for group in GROUPS for command in group.commands],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_commands_of_a_group_are_described_like_the_others(group: str, command: Command) -> None:
    lines = read_help(group, command.name)
    assert [line for line in lines if len(line) > WIDTH] == []
    known = GROUP.commands[group].commands[command.name]
    assert all(getattr(parameter, "help", "") for parameter in known.params)
    for example in list_examples(command):
        program, *names = shlex.split(example)[:3]
        assert (program, names) == ("dex", [group, command.name])
        assert example.strip() in [line.strip() for line in lines] or "\\\n" in "\n".join(command.examples)
        known.make_context(command.name, shlex.split(example)[3:])  # parses, and runs nothing


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"dex {version('data-engine-x')}\n")


def test_it_starts_without_what_only_some_commands_need() -> None:
    program = "import sys, scripts.dex; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    needed = {"psycopg", "fastapi", "uvicorn", "httpx", "mcp", "pyarrow", "rich"} & set(done.stdout.split())
    assert needed == set(), "imported before a command asks for it"


def test_a_shell_is_offered_the_names_of_the_specs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert complete_spec("company_") == ["company_intel_briefings"]
    assert complete_spec("") == sorted(file.stem for file in (ROOT / "specs").glob("*.yaml"))
    monkeypatch.chdir(tmp_path)
    assert complete_spec("") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_completion_script(shell: str) -> None:
    assert "_DEX_COMPLETE=complete_" in complete_in_shell({"_DEX_COMPLETE": f"source_{shell}"})


def test_a_shell_completes_commands_and_specs() -> None:
    words = {"COMP_WORDS": "dex recon", "COMP_CWORD": "1"}
    assert complete_in_shell({"_DEX_COMPLETE": "complete_bash", **words}).split() == ["reconcile"]
    words = {"COMP_WORDS": "dex backfill company_", "COMP_CWORD": "2"}
    assert complete_in_shell({"_DEX_COMPLETE": "complete_bash", **words}).split() == ["company_intel_briefings"]


def complete_in_shell(variables: dict[str, str]) -> str:
    """Run `dex` the way the completion of a shell does."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([DEX], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
