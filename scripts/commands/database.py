"""Commands about the database: migrate, query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
import typer

from engine import plans, project
from engine.errors import nearest
from engine.plan import Field
from engine.values import exact_json
from scripts import console
from scripts.commands.backfill import as_uuid
from scripts.commands.spec import AsJson, Spec
from scripts.database_url import database, named


def migrate(
    status: Annotated[bool, typer.Option("--status", help="Show what is applied and what is pending.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied.")] = False,
    baseline: Annotated[
        int | None, typer.Option(help="Adopt a database in which the first N were applied by hand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the pending migrations, in order, one transaction each."""
    from engine.tables import migrate as migrations

    here = project.find()
    with database(here) as dsn:
        if status:
            states = asyncio.run(migrations.status(dsn, here.migrations))
            _say_states(states, as_json)
            return
        report = asyncio.run(migrations.migrate(dsn, here.migrations, baseline=baseline, dry_run=dry_run))
    _say_report(report, dry_run, as_json)


def _say_states(states: Any, as_json: bool) -> None:
    words = [state.as_dict() for state in states]
    if as_json:
        console.emit({"migrations": words})
        return
    console.table(("migration", "state"), [(word["name"], word["state"]) for word in words])


def _say_report(report: Any, dry_run: bool, as_json: bool) -> None:
    if as_json:
        console.emit(report.as_dict())
        return
    verb = "would apply" if dry_run else "applied"
    for name in report.baselined:
        console.say(f"adopted {name}")
    for name in report.applied:
        console.say(f"{verb} {name}")
    console.note(f"{named()}: {verb} {len(report.applied)} migration(s)")


def query(
    spec: Spec,
    org: Annotated[str | None, typer.Option(help="Only this organisation, as its own callers see it.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="column=value; repeat a column for a list.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    fields: Annotated[str | None, typer.Option(help="Columns to show, with commas between. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows, newest first: of one organisation, or of all."""
    from engine.rows.query_words import ask
    from engine.store.connection import connect
    from engine.store.select import fetch

    here = project.find()
    plan = plans.pick(plans.load(here), spec)
    wanted = {"fields": fields.split(",")} if fields else {}
    question = ask(
        plan,
        as_uuid(org, "--org"),
        {**_filters(filters or [], plan.filters), **wanted, "limit": limit, "offset": offset},
    )

    async def answer() -> Any:
        with database(here) as dsn:
            async with await connect(dsn) as connection:
                return await fetch(connection, plan, question)

    page = asyncio.run(answer())
    rows = [orjson.Fragment(row) for row in page.rows]
    if as_json:
        console.emit({"data": rows, "meta": {"count": len(rows), "more": page.last is not None}})
        return
    for row in page.rows:
        console.say(row.decode())
    console.note(f"{plan.name}: {len(rows)} row(s){', more follow' if page.last else ''}")


def _filters(pairs: list[str], known: Sequence[Field]) -> dict[str, Any]:
    fields = {field.name: field for field in known}
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"`{pair}` is not column=value")
        if name not in fields:
            raise typer.BadParameter(f"`{name}` is no filter of this spec; {nearest(name, fields)}")
        value = _value(fields[name], text)
        found[name] = value if name not in found else [*_listed(found[name]), value]
    return found


def _value(field: Field, text: str) -> exact_json.Json:
    """What a word of the command line stands for: a number or a boolean where the column takes no string."""
    if "string" in field.type.takes:
        return text
    try:
        value = exact_json.loads(text)
    except exact_json.ExactError:
        return text
    return value if exact_json.kind(value) in field.type.takes else text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


COMMANDS = (migrate, query)
