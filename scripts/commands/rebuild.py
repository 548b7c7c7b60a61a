"""The command `dex rebuild`, which rebuilds a table.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from engine.plans import find_plan, load_plans
from engine.project import find_project
from scripts import terminal
from scripts.commands.backfill import has_trouble
from scripts.commands.options import AsJson, Command, SpecName
from scripts.database_url import describe_database, open_database


def rebuild_table(
    spec: SpecName,
    drop_unsourced: Annotated[
        bool,
        typer.Option("--drop-unsourced", help="Drop rows of no step result that do not fit the changed spec."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild a table whose key or types have changed.

    A new table is filled from the step results, and replaces the present one in one transaction. Exit status 1 if
    something is rejected under the changed spec.
    """
    from engine.tables.rebuild import rebuild_spec

    here = find_project()
    plan = find_plan(load_plans(here), spec)
    question = f"Replace the table `{plan.table}` in {describe_database()} by a new one?"
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("nothing was changed; `--yes` rebuilds without a question")
    if not yes and not typer.confirm(question, err=True):
        terminal.print_note("nothing was changed")
        raise typer.Exit(1)
    with open_database(here) as dsn:
        report = asyncio.run(rebuild_spec(dsn, plan, drop_unsourced=drop_unsourced, report=terminal.print_note))
    assert report.account is not None
    account = report.account.as_dict()
    if as_json:
        counts = {"rows": report.rows, "unsourced": report.copied, "left": report.left}
        terminal.print_json({"spec": report.spec, **counts, "account": account})
    else:
        unsourced = f", {report.copied} of no step result" if report.copied else ""
        left = f"; {report.left} of no step result were left behind" if report.left else ""
        terminal.print_line(f"{report.spec}: {report.rows} rows{unsourced}{left}")
        terminal.print_account(account)
    raise typer.Exit(1 if has_trouble(account) else 0)


COMMANDS = (
    Command(
        "rebuild",
        rebuild_table,
        ("dex rebuild company_intel_briefings", "dex rebuild company_intel_briefings --yes --json"),
    ),
)
