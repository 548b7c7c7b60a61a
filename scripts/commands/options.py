"""What the commands share: classes that register a command with its examples, and common arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import getdoc
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated

import typer

from engine.project import ProjectNotFound, find_project
from engine.values import exact_json
from engine.values.exact_json import Json
from engine.values.uuid_text import parse_uuid


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `dex`. Its help is the docstring of `function`, whose first sentence is the summary."""

    name: str
    function: Callable[..., None]
    examples: tuple[str, ...]

    @property
    def epilog(self) -> str:
        """The examples, for the end of the help; `\\b` tells click not to rewrap their lines."""
        return "\n".join(("\b", "Examples:", *(f"  {example}" for example in self.examples)))


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below one name, such as `dex token`. `function`, if there is one, runs when no command is given."""

    name: str
    function: Callable[..., None] | None
    examples: tuple[str, ...]
    commands: tuple[Command, ...]
    summary: str = ""  # the help if there is no `function`, whose docstring it would be otherwise

    def build_app(self) -> typer.Typer:
        """Build the typer application of the group."""
        epilog = Command(self.name, self.function or print, self.examples).epilog if self.examples else None
        summary = self.summary or getdoc(self.function) or ""
        group = typer.Typer(no_args_is_help=self.function is None, rich_markup_mode=None, help=summary, epilog=epilog)
        if self.function is not None:
            group.callback(invoke_without_command=True, epilog=epilog)(self.function)
        else:
            group.callback()(_do_nothing)
        for command in self.commands:
            group.command(command.name, epilog=command.epilog)(command.function)
        return group


def merge_groups(groups: Sequence[Group]) -> list[Group]:
    """Merge groups of the same name into one that has the commands of all."""
    merged: dict[str, Group] = {}
    for group in groups:
        earlier = merged.get(group.name)
        merged[group.name] = replace(earlier, commands=(*earlier.commands, *group.commands)) if earlier else group
    return list(merged.values())


def _do_nothing() -> None:
    """Do nothing: without a callback, typer would replace a group of one command by that command."""


def complete_spec(incomplete: str) -> list[str]:
    """Return the names of the project's specs that begin with `incomplete`, for shell completion."""
    try:
        names = sorted(file.stem for file in find_project().specs.glob("*.yaml"))
    except ProjectNotFound:
        return []
    return [name for name in names if name.startswith(incomplete)]


def read_uuid(text: str, option: str) -> str:
    """Parse a UUID and return its canonical text. Raises BadParameter that names the option."""
    value = parse_uuid(text)
    if value is None:
        advice = "; `dex org list` shows the ids of the organisations" if option in ("--org", "ORG") else ""
        raise typer.BadParameter(f"{option}: `{text}` is not a UUID{advice}")
    return value


def read_optional_uuid(text: str | None, option: str) -> str | None:
    """Parse a UUID as `read_uuid` does; return None if the option was not given."""
    return None if text is None else read_uuid(text, option)


def read_json_file(file: str) -> Json:
    """Read a file with one JSON document, or standard input for `-`. Raises BadParameter that names the file."""
    try:
        return exact_json.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"cannot read `{file}`: {error.strerror}") from error
    except exact_json.ExactError as error:
        raise typer.BadParameter(f"`{file}` is {error}{_advise_on_lines(error)}") from error


def _advise_on_lines(error: exact_json.ExactError) -> str:
    """Return the advice for a file of JSON Lines, in which a second document follows in another line; else ""."""
    cause = error.__cause__
    if not isinstance(cause, JSONDecodeError) or cause.msg != "Extra data" or cause.lineno == 1:
        return ""
    return "; a file takes one JSON document: save each line of JSON Lines as a file of its own"


SpecName = Annotated[str, typer.Argument(help="The name of a spec.", autocompletion=complete_spec, metavar="SPEC")]
OptionalSpecName = Annotated[str | None, typer.Option("--spec", help="Only this spec.", autocompletion=complete_spec)]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", help="I/N: only the organisations of share I of N; I counts from 0. Any N run at a time."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
