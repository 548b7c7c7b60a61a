"""The commands about the database: migrate, query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
import typer

from engine.errors import suggest_name
from engine.plan import Field
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.values import exact_json
from scripts import console
from scripts.commands.options import AsJson, Command, SpecName, read_optional_uuid
from scripts.database_url import describe_database, open_database


def apply_migrations(
    status: Annotated[bool, typer.Option("--status", help="Show what is applied and what is pending.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied.")] = False,
    baseline: Annotated[
        int | None, typer.Option(help="Adopt a database in which the first N were applied by hand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the pending migrations, in order.

    Each runs in a transaction of its own.
    """
    from engine.tables.migrate import migrate, read_status

    here = find_project()
    with open_database(here) as dsn:
        if status:
            states = asyncio.run(read_status(dsn, here.migrations))
            _print_states(states, as_json)
            return
        report = asyncio.run(migrate(dsn, here.migrations, baseline=baseline, dry_run=dry_run))
    _print_report(report, dry_run, as_json)


def _print_states(states: Any, as_json: bool) -> None:
    report = [state.as_dict() for state in states]
    if as_json:
        console.print_json({"migrations": report})
        return
    console.print_table(("migration", "state"), [(state["name"], state["state"]) for state in report])


def _print_report(report: Any, dry_run: bool, as_json: bool) -> None:
    if as_json:
        console.print_json(report.as_dict())
        return
    verb = "would apply" if dry_run else "applied"
    for name in report.baselined:
        console.print_line(f"adopted {name}")
    for name in report.applied:
        console.print_line(f"{verb} {name}")
    console.print_note(f"{describe_database()}: {verb} {len(report.applied)} migration(s)")


def query_rows(
    spec: SpecName,
    org: Annotated[str | None, typer.Option(help="Only this organisation, as its own callers see it.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="column=value; repeat a column for a list.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many rows.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Leave out this many rows first.")] = 0,
    fields: Annotated[str | None, typer.Option(help="Columns to show, with commas between. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows, newest first.

    Those of one organisation, or of all.
    """
    from engine.rows.query import build_query
    from engine.store.connection import connect
    from engine.store.select import fetch_page

    here = find_project()
    plan = find_plan(load_plans(here), spec)
    wanted = {"fields": fields.split(",")} if fields else {}
    question = build_query(
        plan,
        read_optional_uuid(org, "--org"),
        {**_parse_filters(filters or [], plan.filters), **wanted, "limit": limit, "offset": offset},
    )

    async def read_page() -> Any:
        with open_database(here) as dsn:
            async with await connect(dsn) as connection:
                return await fetch_page(connection, plan, question)

    page = asyncio.run(read_page())
    rows = [orjson.Fragment(row) for row in page.rows]
    if as_json:
        console.print_json({"data": rows, "meta": {"count": len(rows), "more": page.last is not None}})
        return
    for row in page.rows:
        console.print_line(row.decode())
    console.print_note(f"{plan.name}: {len(rows)} row(s){', more follow' if page.last else ''}")


def _parse_filters(pairs: list[str], known: Sequence[Field]) -> dict[str, Any]:
    """Turn `column=value` pairs into the filters of a query; a repeated column gives a list. Raises BadParameter."""
    fields = {field.name: field for field in known}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"`{pair}` is not column=value")
        if name not in fields:
            raise typer.BadParameter(f"`{name}` is no filter of this spec; {suggest_name(name, fields)}")
        value = _parse_value(fields[name], text)
        values[name] = value if name not in values else [*_as_list(values[name]), value]
    return values


def _parse_value(field: Field, text: str) -> exact_json.Json:
    """Read an argument as a number or a boolean where the column takes no string, else keep it as text."""
    if "string" in field.type.takes:
        return text
    try:
        value = exact_json.loads(text)
    except exact_json.ExactError:
        return text
    return value if exact_json.json_kind(value) in field.type.takes else text


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


COMMANDS = (
    Command("migrate", apply_migrations, ("dex migrate", "dex migrate --status", "dex migrate --baseline 16")),
    Command(
        "query",
        query_rows,
        (
            "dex query icp_job_titles --limit 5",
            "dex query company_intel_briefings --filter company_domain=example.com --json",
        ),
    ),
)
