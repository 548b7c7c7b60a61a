"""The command `dex erase`, which removes what is stored about a person or a company."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.plans import load_plans
from engine.project import find_project
from scripts import terminal
from scripts.commands.options import AsJson, Command, read_uuid
from scripts.database_url import describe_database, open_database

if TYPE_CHECKING:
    from engine.erase.run import Erasure

_SHOWN_MENTIONS = 20


def erase_somebody(
    org: Annotated[str, typer.Option(help="The organisation.")],
    person: Annotated[str | None, typer.Option(help="A name, or the URL of a LinkedIn profile.")] = None,
    company: Annotated[str | None, typer.Option(help="A domain, or a URL or e-mail address at it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is stored about a person or a company.

    Removes research about them: step results, rows, evidence, inputs, ledger entries. Orders are kept for their costs,
    without question and answer. Research about others that mentions them is kept and listed. All of it is one
    transaction: if it is killed, nothing is removed; run the command again.
    """
    from engine.erase.run import erase_subject
    from engine.erase.subject import read_company, read_person

    if (person is None) == (company is None):
        raise typer.BadParameter("name either --person or --company")
    subject = read_company(company) if company is not None else read_person(person or "")
    org_id = read_uuid(org, "--org")
    here = find_project()
    plans = load_plans(here)
    _confirm_erasure(company or person or "", org_id, dry_run=dry_run, yes=yes, may_ask=not as_json)
    with open_database(here) as dsn:
        erasure = asyncio.run(erase_subject(dsn, plans, org_id, subject, dry_run=dry_run))
    if as_json:
        terminal.print_json({"org_id": org_id, "dry_run": dry_run, **erasure.as_dict()})
        return
    _print_erasure(erasure, dry_run)


def _confirm_erasure(name: str, org_id: str, *, dry_run: bool, yes: bool, may_ask: bool) -> None:
    if dry_run or yes:
        return
    if not (may_ask and sys.stdin.isatty()):
        raise typer.BadParameter("this destroys data: check with --dry-run, then add --yes")
    typer.confirm(f"remove all that {describe_database()} stores of `{name}` in {org_id}?", abort=True, err=True)


def _print_erasure(erasure: Erasure, dry_run: bool) -> None:
    report = erasure.as_dict()
    for verb, counts in (("remove", report["removed"]), ("blank", report["blanked"])):
        for table, count in counts.items():
            done = f"would {verb}" if dry_run else f"{verb.removesuffix('e')}ed"
            terminal.print_line(f"{done} {count} of {table}")
    if erasure.canceled_runs:
        terminal.print_line(f"{'would cancel' if dry_run else 'canceled'} {erasure.canceled_runs} run(s)")
    if not report["removed"] and not report["blanked"]:
        terminal.print_line("nothing is stored that is about them")
    for mention in erasure.mentions[:_SHOWN_MENTIONS]:
        terminal.print_line(f"mentioned in {mention.table} {mention.id}: {', '.join(mention.columns)}")
    more = len(erasure.mentions) - _SHOWN_MENTIONS
    if more > 0:
        terminal.print_note(f"and {more} more; --json lists them all")
    if erasure.specs_without_table:
        names = ", ".join(erasure.specs_without_table)
        terminal.print_note(f"no table is found for {names}, so nothing was removed from it")
    if erasure.mentions:
        terminal.print_note("what mentions them is about somebody else, and stays")


COMMANDS = (
    Command(
        "erase",
        erase_somebody,
        (
            "dex erase --dry-run --person https://www.linkedin.com/in/jimhiggins \\",
            "  --org b0293785-aa7a-4234-8201-cc47305295f8",
            "dex erase --yes --company acme.com \\",
            "  --org b0293785-aa7a-4234-8201-cc47305295f8",
        ),
    ),
)
