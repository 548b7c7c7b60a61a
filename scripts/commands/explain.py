"""The commands that show where a row comes from and its earlier versions: explain, history.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import EngineError
from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows import render
from engine.values import exact_json
from engine.values.column_types import shorten_json
from engine.values.uuid_text import parse_uuid
from scripts import terminal
from scripts.commands.options import AsJson, Command, SpecName, read_uuid
from scripts.database_url import run_in_database

if TYPE_CHECKING:
    from engine.explain.history import History
    from engine.store.connection import Connection

_WIDTH = 100  # the most characters of a value on a line

RowId = Annotated[str | None, typer.Argument(help="The row's id.", metavar="[ID]")]
Org = Annotated[str | None, typer.Option("--org", help="With --key: the organisation of the row.")]
Key = Annotated[
    list[str] | None,
    typer.Option("--key", help="A column of the key; may be repeated.", metavar="COLUMN=VALUE"),
]


class RowNotFound(EngineError):
    """No organisation has a row with this id."""


@dataclass(frozen=True, slots=True)
class RowReference:
    """A row as named on the command line: by its id, or by organisation and key."""

    row_id: str | None
    org_id: str | None
    key: Mapping[str, str]


def explain_row(
    spec: SpecName,
    row: RowId = None,
    field: Annotated[str | None, typer.Argument(help="Only the cell of this field.", metavar="[FIELD]")] = None,
    org: Org = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show where each cell of a row comes from.

    For a key without a row, show why there is none: for example failed, filtered, rejected or superseded.
    """
    if key and row is not None and field is None and parse_uuid(row) is None:
        row, field = None, row  # with a key, the first argument is the field
    named = _read_row_reference(row, org, key)
    plans = load_plans(find_project())
    plan = find_plan(plans, spec)

    async def fetch_explanation(connection: Connection) -> dict[str, Any]:
        from engine.explain.key import explain_key
        from engine.explain.key_lookup import parse_key
        from engine.explain.row import explain_row

        if named.org_id is not None and named.key:
            parsed = parse_key(plan, named.key)
            return (await explain_key(connection, plan, named.org_id, parsed, plans, field)).as_dict()
        row_id, org_id = await _find_owner(connection, plan, named)
        found = await explain_row(connection, plan, org_id, row_id, field)
        if found is None:
            raise _build_not_found(plan, row_id)
        return found.as_dict()

    explained = run_in_database(fetch_explanation, named.org_id)
    if as_json:
        terminal.print_json(render.embed_json(exact_json.dumps(explained)))
        return
    _print_explanation(explained)


def show_history(
    spec: SpecName,
    row: RowId = None,
    org: Org = None,
    key: Key = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most versions to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the versions of a row, newest first."""
    named = _read_row_reference(row, org, key)
    plan = find_plan(load_plans(find_project()), spec)

    async def fetch_history(connection: Connection) -> History:
        from engine.explain.history import read_history
        from engine.explain.key import read_key_history
        from engine.explain.key_lookup import parse_key

        if named.org_id is not None and named.key:
            return await read_key_history(connection, plan, named.org_id, parse_key(plan, named.key), limit)
        row_id, org_id = await _find_owner(connection, plan, named)
        history = await read_history(connection, plan, org_id, row_id, limit)
        if history is None:
            raise _build_not_found(plan, row_id)
        return history

    history = run_in_database(fetch_history, named.org_id)
    if history.more:
        terminal.print_note(f"older ones are left out: the newest {len(history.versions)} are here")
    if as_json:
        terminal.print_json(render.embed_json(exact_json.dumps([version.as_dict() for version in history.versions])))
        return
    _print_history(plan, history)


def _read_row_reference(row: str | None, org: str | None, key: list[str] | None) -> RowReference:
    """Parse the id, or the organisation and key, of a row. Raises BadParameter if they do not name one row."""
    if (row is None) == (not key):
        raise typer.BadParameter("name the row either by its id, or by `--org` and `--key column=value`")
    if key and org is None:
        raise typer.BadParameter("`--key` needs `--org`: every organisation has keys of its own")
    pairs = [text.partition("=") for text in key or ()]
    for (name, sign, _), text in zip(pairs, key or (), strict=True):
        if not sign or not name.strip():
            raise typer.BadParameter(f"--key: `{text}` is not `column=value`")
    return RowReference(
        None if row is None else read_uuid(row, "ID"),
        None if org is None else read_uuid(org, "--org"),
        {name.strip(): value for name, _, value in pairs},
    )


async def _find_owner(connection: Connection, plan: Plan, named: RowReference) -> tuple[str, str]:
    """Return the id of the row and its organisation. Raises RowNotFound if no organisation has the row."""
    from engine.explain.stored_row import find_owner
    from engine.store.errors import wrap_errors

    assert named.row_id is not None
    async with wrap_errors():
        org_id = named.org_id or await find_owner(connection, plan, named.row_id)
    if org_id is None:
        raise _build_not_found(plan, named.row_id)
    return named.row_id, org_id


def _build_not_found(plan: Plan, row_id: str) -> RowNotFound:
    return RowNotFound(f"there is no row `{row_id}` of `{plan.name}`", hint="check the id, or name the row by its key")


def _print_explanation(explained: Mapping[str, Any]) -> None:
    for cell in explained["cells"]:
        terminal.print_line(f"{cell['field']} = {shorten_json(cell['value'], _WIDTH)}")
        if cell["step_result_id"] is not None:
            element = "" if cell["element"] is None else f", element {cell['element']}"
            terminal.print_line(f"    from       {cell['step_result_id']} of {cell['recorded_at']}{element}")
            terminal.print_line(f"    path       {cell['path']}")
            terminal.print_line(f"    raw        {shorten_json(cell['raw'], _WIDTH)}")
        for step in cell["steps"]:
            terminal.print_line(f"    {step['normalizer']:<10} {shorten_json(step['result'], _WIDTH)}")
        for entry in cell["evidence"]:
            _print_evidence(entry)
        if cell["note"]:
            terminal.print_line(f"    note       {cell['note']}")
    what = explained["id"] or ("rows" if "rows" in explained else "no row")
    terminal.print_line(f"{what}: {explained['state']}: {explained['explanation']}")
    for finding in explained.get("known", ()):
        terminal.print_line(f"  {finding['recorded_at']} {finding['step_result_id']}: {finding['message']}")
        terminal.print_reasons(finding["reasons"], "the step result")
    for row in explained.get("rows", ()):
        terminal.print_line(f"  {row['id']}  {', '.join(f'{name}={value}' for name, value in row['key'].items())}")


def _print_evidence(entry: Mapping[str, Any]) -> None:
    confidence = f" ({entry['confidence']} confidence)" if entry["confidence"] else ""
    terminal.print_line(f"    evidence   {entry['field']}{confidence}: {shorten_json(entry['reasoning'], _WIDTH)}")
    for citation in entry["citations"]:
        address = citation.get("url") if isinstance(citation, dict) else citation
        terminal.print_line(f"               {address}")


def _print_history(plan: Plan, history: History) -> None:
    """Print, newest first, the columns that changed in each version."""
    if not history.versions:
        terminal.print_line("no step result gives this row: it has no history")
        return
    older = [*history.versions[1:], None]
    for version, before in zip(history.versions, older, strict=True):
        terminal.print_line(f"{version.recorded_at} {version.step_result_id}")
        if version.row is None:
            terminal.print_line("    the row went")
            continue
        earlier = before.row if before and before.row else {}
        names = [column.name for column in plan.fields]
        changed = [name for name in names if name not in earlier or earlier[name] != version.row[name]]
        for name in changed:
            terminal.print_line(f"    {name} = {shorten_json(version.row[name], _WIDTH)}")
        if not changed:
            terminal.print_line("    no value changed")


COMMANDS = (
    Command(
        "explain",
        explain_row,
        (
            "dex explain icp_job_titles $ROW",
            "dex explain icp_job_titles $ROW company_domain --json",
            "dex explain icp_job_titles --org $ORG --key company_domain=example.com",
        ),
    ),
    Command(
        "history",
        show_history,
        (
            "dex history icp_job_titles $ROW",
            "dex history icp_job_titles --org $ORG --key company_domain=example.com",
        ),
    ),
)
