"""`dex`, the command line.

Exit status: 0 fine, 1 something is wrong, 2 wrong usage. Each command prints what it did; where a script would want it,
`--json` puts one JSON document on standard output and nothing else.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from engine.erase.subject import UnknownSubject
from engine.errors import EngineError
from engine.plans import UnknownSpec
from engine.rows.cursor import CursorRejected
from engine.rows.query import QueryRejected
from engine.store.database_url import InvalidDatabaseUrl
from engine.tables.migration_files import NoSuchBaseline
from scripts import console
from scripts.commands import (
    access,
    backfill,
    cases,
    check,
    database,
    erase,
    explain,
    orders,
    runs,
    server,
    spec,
    submit,
    verify,
)
from scripts.commands.options import merge_groups

app = typer.Typer(
    name="dex",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: Errors of the engine that mean wrong usage: exit status 2.
USAGE_ERRORS = (UnknownSpec, QueryRejected, CursorRejected, NoSuchBaseline, InvalidDatabaseUrl, UnknownSubject)

COMMANDS = (
    *check.COMMANDS,
    *spec.COMMANDS,
    *cases.COMMANDS,
    *database.COMMANDS,
    *server.COMMANDS,
    *submit.COMMANDS,
    *runs.COMMANDS,
    *orders.COMMANDS,
    *backfill.COMMANDS,
    *verify.COMMANDS,
    *explain.COMMANDS,
    *erase.COMMANDS,
)
#: Names with commands below them, such as `dex token create`. Two modules may add to one name.
GROUPS = merge_groups((*access.GROUPS, *runs.GROUPS, *orders.GROUPS))

for command in COMMANDS:
    app.command(command.name, epilog=command.epilog)(command.function)
for group in GROUPS:
    app.add_typer(group.build_app(), name=group.name)


def print_version(wanted: bool) -> None:
    """Print the version and end, for `--version`."""
    if wanted:
        console.print_line(f"dex {version('data-engine-x')}")
        raise typer.Exit()


@app.callback()
def read_global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One YAML spec per operation turns research documents into rows."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command, by default that of this process; report an error in two lines, never as a traceback."""
    try:
        app(arguments)
    except EngineError as error:
        console.print_error(error)
        sys.exit(2 if isinstance(error, USAGE_ERRORS) else 1)


if __name__ == "__main__":
    main()
