"""`dex`, the command line.

Exit status: 0 for success, 1 when something is wrong, 2 for wrong usage. Each command prints what it did; most have
`--json`, which prints one JSON document on standard output and nothing else there.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import EngineError
from scripts import terminal
from scripts.commands import (
    access,
    backfill,
    cases,
    check,
    database,
    erase,
    explain,
    files,
    import_results,
    init,
    orders,
    rebuild,
    roles,
    runs,
    server,
    spec,
    submit,
    verify,
)
from scripts.commands.options import merge_groups
from scripts.env_file import describe_origins, load_env_file


class CommandLine(typer.Typer):
    """`dex` with all its commands. A call builds only the command that it names, since to build all takes 0.1 s."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        words = args[0] if args and args[0] is not None else sys.argv[1:]
        commands = [command for command in self.registered_commands if words[:1] == [command.name]]
        groups = [group for group in self.registered_groups if words[:1] == [group.name]]
        if not commands and not groups:  # none or an unknown one, for which the names of all are needed
            return super().__call__(*args, **kwargs)
        chosen = copy(self)
        chosen.registered_commands, chosen.registered_groups = commands, groups
        return typer.Typer.__call__(chosen, *args, **kwargs)


app = CommandLine(
    name="dex",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS = (
    *init.COMMANDS,
    *check.COMMANDS,
    *spec.COMMANDS,
    *cases.COMMANDS,
    *database.COMMANDS,
    *server.COMMANDS,
    *submit.COMMANDS,
    *runs.COMMANDS,
    *orders.COMMANDS,
    *backfill.COMMANDS,
    *import_results.COMMANDS,
    *files.COMMANDS,
    *verify.COMMANDS,
    *explain.COMMANDS,
    *rebuild.COMMANDS,
    *erase.COMMANDS,
)
#: What a file or a pipe answers that takes nothing more, without naming itself.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Groups of commands, such as those of `dex token`. Several modules may add commands to one group.
GROUPS = merge_groups((*access.GROUPS, *roles.GROUPS, *runs.GROUPS, *orders.GROUPS))

for command in COMMANDS:
    app.command(command.name, epilog=command.epilog)(command.function)
for group in GROUPS:
    app.add_typer(group.build_app(), name=group.name)


def print_version(wanted: bool) -> None:
    """Print the version and exit, when `--version` is given."""
    if wanted:
        from importlib.metadata import version

        terminal.print_line(f"dex {version('data-engine-x')}")
        raise typer.Exit()


@app.callback()
def read_global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """One YAML spec per operation turns research documents into rows."""
    load_env_file()


def main(arguments: list[str] | None = None, app: typer.Typer = app) -> None:
    """Run `dex`, or another `app`, with `arguments`, by default those of the process.

    An EngineError is printed as message and hint, without a traceback, and sets the exit status. A failure
    to read or write a file is printed in the same way.
    """
    _prepare_streams()
    try:
        app(arguments)
    except EngineError as error:
        terminal.print_error(error)
        if origins := describe_origins(f"{error.message} {error.hint}"):
            terminal.print_note(f"    {origins}")
        sys.exit(2 if is_usage_error(error) else 1)
    except OSError as error:
        if error.filename is not None:
            message = f"cannot read or write `{error.filename}`: {error.strerror}"
            terminal.print_error(EngineError(message, hint="check the path, and that this user may use it"))
        elif error.errno in _NO_ROOM:
            cause = os.strerror(error.errno).lower()
            terminal.print_error(EngineError(f"cannot write the output: {cause}", hint="write it to another disk"))
        else:
            raise
        sys.exit(1)


def _prepare_streams() -> None:
    """Make the standard streams take any text, whatever the caller's shell made of them, and no notes of the driver.

    Python has None in place of a stream that is closed (`>&-`), and cannot write every character in every locale.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # What psycopg notes of a connection that it gives up follows from the error that is printed. `serve` logs it.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())


def is_usage_error(error: EngineError) -> bool:
    """Return whether an error of the engine means that the command was used wrongly."""
    # Imported only after an error: few commands need these modules, which import the database driver.
    from engine.draft.spec_text import NotDrafted
    from engine.erase.subject import UnknownSubject
    from engine.plans import UnknownSpec
    from engine.rows.cursor import CursorRejected
    from engine.rows.query import QueryRejected
    from engine.rows.shards import InvalidShard
    from engine.store.access import InvalidName
    from engine.store.database_url import InvalidDatabaseUrl
    from engine.store.errors import UnknownOrganisation
    from engine.tables.migration_files import NoSuchBaseline

    usage = NotDrafted | UnknownSpec | UnknownSubject | QueryRejected | CursorRejected | InvalidShard | NoSuchBaseline
    return isinstance(error, usage | InvalidDatabaseUrl | InvalidName | UnknownOrganisation)


if __name__ == "__main__":
    main()
