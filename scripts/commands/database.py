"""The commands about the database: migrate, query, export."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from engine.columns import QueryColumn, list_query_columns
from engine.errors import suggest_name
from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows import render
from engine.rows.export_formats import ExportFormat
from engine.rows.filters import Operator
from engine.rows.ordering import describe_unfiltered
from engine.rows.query import Count
from engine.values import exact_json
from scripts import terminal
from scripts.commands.options import AsJson, Command, SpecName, read_optional_uuid, read_uuid
from scripts.database_url import describe_database, open_database, run_in_database

if TYPE_CHECKING:
    from engine.store.connection import Connection


def apply_migrations(
    status: Annotated[bool, typer.Option("--status", help="Show what is applied, pending, or changed since.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied.")] = False,
    baseline: Annotated[
        int | None, typer.Option(help="Adopt a database in which the migrations up to number N were applied by hand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the pending migrations, in order.

    This can run while others work with the tables: nobody waits for more than a moment.

    Afterwards the specs of this checkout count as the present ones: processes that still have another version of a spec
    leave its step results pending.
    """
    from engine.tables.migrate import migrate, read_status

    here = find_project()
    plans = () if status or dry_run else load_plans(here)  # raises for a mistake before anything is applied
    with open_database(here) as dsn:
        if status:
            states = asyncio.run(read_status(dsn, here.migrations))
            _print_states(states, as_json)
            raise typer.Exit(1 if any(state.state.is_refused for state in states) else 0)
        with _note_interruption():
            report = asyncio.run(
                migrate(dsn, here.migrations, baseline=baseline, dry_run=dry_run, report=terminal.print_note)
            )
        changed = [] if dry_run else asyncio.run(_register_specs(dsn, plans))
    _print_report(report, dry_run, as_json)
    if changed and not as_json:
        terminal.print_note(f"the present version of these specs is now this one: {', '.join(changed)}")


@contextmanager
def _note_interruption() -> Iterator[None]:
    """Print what happened to the migrations if the `with` block is interrupted."""
    try:
        with terminal.stop_on_terminate():
            yield
    except KeyboardInterrupt:
        terminal.print_note("stopped: the migration under way is undone, those before it stay; `dex migrate` goes on")
        raise


async def _register_specs(dsn: str, plans: Sequence[Plan]) -> list[str]:
    """Grant the API's login its rights, if `dex db roles` made one; register the specs and return the changed ones."""
    from engine.backfill.versions import register_versions
    from engine.store.connection import connect
    from engine.tables.engine_access import give_engine_access

    async with await connect(dsn) as connection:
        await give_engine_access(connection, plans)
        return await register_versions(connection, plans)


def _print_states(states: Any, as_json: bool) -> None:
    report = [state.as_dict() for state in states]
    if as_json:
        terminal.print_json({"migrations": report})
        return
    terminal.print_table(("migration", "state"), [(state["name"], state["state"]) for state in report])
    if any(state.state.is_refused for state in states):
        terminal.print_note("`dex migrate` says what to do about a migration that is changed or missing")


def _print_report(report: Any, dry_run: bool, as_json: bool) -> None:
    if as_json:
        terminal.print_json(report.as_dict())
        return
    verb = "would apply" if dry_run else "applied"
    for name in report.baselined:
        terminal.print_line(f"adopted {name}")
    for name in report.applied:
        terminal.print_line(f"{verb} {name}")
    terminal.print_note(f"{describe_database()}: {verb} {len(report.applied)} migration(s)")


Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help="column=value, or column.operator=value; repeat column=value for a list."),
]
Order = Annotated[
    str | None, typer.Option(help="One or two columns, separated by a comma; `-` for descending: -updated_at.")
]
Search = Annotated[str | None, typer.Option("--q", help="Words to search in the columns under `search`.")]
Fields = Annotated[str | None, typer.Option(help="Columns and paths, separated by commas. Default: all columns.")]


def query_rows(
    spec: SpecName,
    org: Annotated[str | None, typer.Option(help="Only this organisation, with the rights of its tenant.")] = None,
    filters: Filters = None,
    order: Order = None,
    search: Search = None,
    count: Annotated[Count | None, typer.Option(help="Also print how many rows match.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most rows to show.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="How many rows to skip first.")] = 0,
    cursor: Annotated[str | None, typer.Option(help="The `next_cursor` of the previous page of the query.")] = None,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Show rows, newest first.

    Shows the rows of one organisation, or of all. Operators: eq, in, gt, gte, lt, lte, prefix, contains, is.
    """
    from engine.rows.cursor import UNSIGNED_CURSORS
    from engine.rows.query import build_query
    from engine.store.select import fetch_page

    plan = find_plan(load_plans(find_project()), spec)
    page_options: dict[str, Any] = {"limit": limit, "offset": offset, **({"count": count} if count else {})}
    parameters = _build_parameters(plan, filters, order, search, fields) | page_options
    org_id = read_optional_uuid(org, "--org")
    query = build_query(plan, org_id, parameters)
    query = UNSIGNED_CURSORS.apply_cursor(plan, query, cursor)
    page = run_in_database(lambda connection: fetch_page(connection, plan, query), org_id)
    rows = [render.embed_json(row) for row in page.rows]
    following = UNSIGNED_CURSORS.encode_cursor(plan, query, page.last)
    if as_json:
        shown = len(rows) if page.count is None else page.count
        meta = {"count": shown, "more": following is not None, "next_cursor": following}
        terminal.print_json({"data": rows, "meta": meta})
        return
    for row in page.rows:
        terminal.print_line(row.decode())
    total = "" if page.count is None else f" of {page.count}"
    more = f", more follow: --cursor {following}" if following else ""
    terminal.print_note(f"{plan.name}: {len(rows)} row(s){total}{more}")


def export_rows(
    spec: SpecName,
    org: Annotated[str, typer.Option(help="The organisation whose rows it writes.")],
    format_: Annotated[ExportFormat, typer.Option("--format", help="The format of the file.")] = ExportFormat.NDJSON,
    filters: Filters = None,
    order: Order = None,
    search: Search = None,
    fields: Fields = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
) -> None:
    """Write every row that matches to a file.

    The memory it needs does not depend on the number of rows. Parquet needs the optional dependency `parquet`.
    """
    from engine.rows.query import EXPORT_OPTIONS, build_query
    from engine.store.export_files import check_format, write_export

    check_format(format_)
    plan = find_plan(load_plans(find_project()), spec)
    org_id = read_uuid(org, "--org")
    query = build_query(plan, org_id, _build_parameters(plan, filters, order, search, fields), EXPORT_OPTIONS)

    async def write_file(file: IO[bytes], connection: Connection) -> None:
        async with aclosing(write_export(connection, plan, query, format_)) as parts:
            async for part in parts:
                file.write(part)

    if out is not None and out.is_dir():
        raise typer.BadParameter(f"--out: `{out}` is a folder; name a file")
    if out is not None and not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"--out: there is no folder `{out.absolute().parent}`")
    if out is None:
        run_in_database(partial(write_file, sys.stdout.buffer), org_id)
        sys.stdout.buffer.flush()
        return
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            run_in_database(partial(write_file, file), org_id)
        unfinished.replace(out)
    except BaseException:  # ^C too
        unfinished.unlink(missing_ok=True)
        raise
    terminal.print_note(f"{plan.name}: wrote {out}")


def _build_parameters(
    plan: Plan, filters: list[str] | None, order: str | None, search: str | None, fields: str | None
) -> dict[str, Any]:
    """Build the parameters of a query from the options that `query` and `export` share.

    Raises BadParameter as `parse_filters` does.
    """
    lists = {name: text.split(",") for name, text in (("fields", fields), ("order", order)) if text}
    return {**parse_filters(plan, filters or []), **lists, **({} if search is None else {"q": search})}


def parse_filters(plan: Plan, pairs: list[str]) -> dict[str, Any]:
    """Convert `column=value` and `column.operator=value` to the filters of a query.

    Several values of a column become a list; of several operators, all must hold. Raises BadParameter for an argument
    of another form, an unknown column, and a column with both values and operators.
    """
    columns = list_query_columns(plan)
    values: dict[str, Any] = {}
    for pair in pairs:
        left, equals, text = pair.partition("=")
        name, dot, operator = left.partition(".")
        if not equals:
            raise typer.BadParameter(f"`{pair}` is not column=value")
        if name not in columns:
            why = describe_unfiltered(plan, name) or suggest_name(name, columns)
            raise typer.BadParameter(f"`{name}` is not a filter of this spec; {why}")
        value = _parse_operand(columns[name], operator, text)
        if isinstance(values.get(name, {} if dot else []), dict) != bool(dot):
            raise typer.BadParameter(f"`{name}` takes values or operators, not both")
        if dot:
            values.setdefault(name, {})[operator] = value
        else:
            values[name] = value if name not in values else [*_as_list(values[name]), value]
    return values


def _parse_operand(column: QueryColumn, operator: str, text: str) -> exact_json.Json:
    if operator == Operator.IS:
        return None if text == "null" else text
    if operator == Operator.IN:
        return [_parse_value(column, part) for part in text.split(",")]
    return text if operator in (Operator.PREFIX, Operator.CONTAINS) else _parse_value(column, text)


def _parse_value(column: QueryColumn, text: str) -> exact_json.Json:
    """Decode a number or a boolean if the column's type accepts no strings; otherwise return the text."""
    if "string" in column.type.takes:
        return text
    try:
        value = exact_json.loads(text)
    except exact_json.ExactError:
        return text
    return value if exact_json.json_kind(value) in column.type.takes else text


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
    Command(
        "export",
        export_rows,
        (
            "dex export icp_job_titles --org UUID --format csv --out titles.csv",
            "dex export icp_job_titles --org UUID --filter company_domain.prefix=north",
        ),
    ),
)
