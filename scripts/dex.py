"""`dex`, the command line.

In: words. Out: exit 0 fine, 1 found something wrong, 2 wrong usage. Each command says what it did; where a script would
want it, `--json` puts one JSON document on standard output and nothing else.
"""

from __future__ import annotations

import sys

import typer

from engine.errors import EngineError
from engine.plans import UnknownSpec
from engine.rows.query_words import QuestionRefused
from engine.tables.migration_files import NoSuchBaseline
from scripts import console
from scripts.commands import backfill, database, runs, server, spec

app = typer.Typer(
    name="dex",
    help="One YAML spec per operation turns research documents into rows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: What the engine refuses because the command asked for what cannot be.
USAGE = (UnknownSpec, QuestionRefused, NoSuchBaseline)

for module in (spec, database, server, runs, backfill):
    for command in module.COMMANDS:
        app.command(command.__name__.rstrip("_").replace("_", "-"))(command)


def main(arguments: list[str] | None = None) -> None:
    """Run one command (default: this process's); say what went wrong in two lines, never in a traceback."""
    try:
        app(arguments)
    except EngineError as error:
        console.complain(error)
        sys.exit(2 if isinstance(error, USAGE) else 1)


if __name__ == "__main__":
    main()
