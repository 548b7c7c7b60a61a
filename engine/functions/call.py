"""Write and query rows by synchronous calls: the implementation of the generated typed functions.

The store is async; `engine/functions/event_loop.py` runs it while the caller's thread waits. Values are plain Python
objects as in JSON, and numbers of returned rows keep the digits they were written with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, TypeVar
from uuid import UUID

from engine import plans
from engine.backfill.live import LiveUpsert
from engine.functions.event_loop import call_with_connection, close
from engine.plan import Field, Plan
from engine.project import Project, ProjectNotFound, find_project
from engine.rows import given_values
from engine.rows.cursor import UNSIGNED_CURSORS, CursorRejected
from engine.rows.extract import Reason, Rejected, Row, convert_value
from engine.rows.given_values import Refused
from engine.rows.query import Query, QueryRejected, build_query
from engine.store.connection import Connection
from engine.store.errors import UnknownOrganisation
from engine.store.identity import check_organisation
from engine.store.select import Page, fetch_page
from engine.store.upsert import SourceRefused, StoredRow
from engine.values import exact_json
from engine.values.column_types import shorten_json
from engine.values.uuid_text import parse_uuid

__all__ = ["Comparison", "Count", "Refused", "Rows", "SourceRefused", "close", "query", "upsert", "upsert_many"]

T = TypeVar("T")

#: The project whose specs the generated functions are for: two levels above this file.
HOME: Final = Project(Path(__file__).resolve().parents[2])

_EXPECTED_UUID: Final = "expected a UUID such as `0921f10b-890b-47ab-8ceb-b1986df51cbb`"


def upsert(spec: str, *, org_id: str, values: Mapping[str, Any], **source: str | None) -> dict[str, Any]:
    """Write one row of `spec` and return it as it is stored afterwards. `source` has the values of the source columns.

    Writes nothing when it raises: Refused, naming every value that cannot be stored; SourceRefused for a source of
    another organisation; StoreRefused for what the database refuses; StoreUnavailable when it cannot be reached.
    """
    statement, home = find_statement(spec)
    row, reasons = given_values.convert_values(statement.plan, values, _convert_value)
    return _write_rows(statement, home, org_id, [row], reasons, source)[0]


def upsert_many(
    spec: str, *, org_id: str, rows: Iterable[Mapping[str, Any]], **source: str | None
) -> list[dict[str, Any]]:
    """Write all rows of `spec`, or none; return them as they are stored afterwards, in the order of their keys.

    Of rows with the same key the last one wins. Raises the same as `upsert`; the `element` of a reason is the index of
    the row it is about.
    """
    statement, home = find_statement(spec)
    converted, reasons = [], []
    for index, values in enumerate(rows):
        row, row_reasons = given_values.convert_values(statement.plan, values, _convert_value)
        row_reasons += _list_unknown_fields(statement.plan, values)
        converted.append(row)
        reasons += [replace(reason, element=index) for reason in row_reasons]
    return _write_rows(statement, home, org_id, converted, reasons, source)


#: How to get the number of matching rows: by counting, or beyond 10,000 as Postgres's planner estimates it.
Count = Literal["exact", "estimated"]
#: The operators of a filter; a row matches if it meets all that are given.
Comparison = TypedDict(
    "Comparison",
    {
        "eq": Any,
        "in": list[Any],
        "gt": Any,
        "gte": Any,
        "lt": Any,
        "lte": Any,
        "prefix": str,
        "contains": str,
        "is": Literal["not null"] | None,
    },
    total=False,
)


class Rows(list[T]):
    """One page of rows.

    `next_cursor` is None on the last page; `total` counts the rows of all pages, if `count` was given.
    """

    def __init__(self, rows: Iterable[T], next_cursor: str | None = None, total: int | None = None) -> None:
        super().__init__(rows)
        self.next_cursor = next_cursor
        self.total = total


def query(
    spec: str, *, org_id: str, filters: Mapping[str, Any], cursor: str | None = None, **options: Any
) -> Rows[dict[str, Any]]:
    """Return the rows of `spec` that match every filter.

    `options` are the other parameters of a query, such as `order`. A filter or an option that is None is ignored.
    Raises Refused for a value that cannot be used and for an organisation that does not exist, StoreUnavailable when
    the database cannot be reached.
    """
    statement, home = find_statement(spec)
    _check_filters_are_json(filters)
    parameters = {name: value for name, value in {**filters, **options}.items() if value is not None}
    try:
        page_query = build_query(statement.plan, parse_organisation(org_id), _convert_uuids(parameters))
        page_query = UNSIGNED_CURSORS.apply_cursor(statement.plan, page_query, cursor)
    except QueryRejected as error:
        raise Refused(error.reasons, hint=error.hint) from error
    except CursorRejected as error:
        raise Refused([Reason("invalid_cursor", "cursor", error.message)], hint=error.hint) from error
    page = call_with_connection(home, partial(_fetch_page, statement.plan, page_query))
    following = UNSIGNED_CURSORS.encode_cursor(statement.plan, page_query, page.last)
    return Rows((_load_row(row) for row in page.rows), following, page.count)


# --- values and rows ------------------------------------------------------------------------------------------------


def _write_rows(
    statement: LiveUpsert,
    home: Project,
    org_id: str,
    rows: list[Row],
    reasons: list[Reason],
    source: Mapping[str, Any],
) -> list[dict[str, Any]]:
    sources, source_reasons = given_values.convert_sources(
        {name: convert_uuid(value) for name, value in source.items()}
    )
    org_id = parse_organisation(org_id)
    if reasons or source_reasons:
        raise Refused([*reasons, *source_reasons])
    last = given_values.select_last_rows(statement.plan, ({**row, **sources} for row in rows))
    if not last:
        return []
    return [_load_row(row) for row in call_with_connection(home, partial(_store_rows, statement, org_id, last))]


def _list_unknown_fields(plan: Plan, values: Mapping[str, Any]) -> list[Reason]:
    unknown = values.keys() - {column.name for column in plan.given_fields}
    return [Reason("unknown_field", name, f"unknown field `{name}`") for name in sorted(unknown, key=str)]


def _convert_value(field: Field, value: Any) -> Any:
    try:
        return convert_value(field, convert_uuid(value))
    except (TypeError, exact_json.ExactError) as error:  # a Python object that is not a JSON value
        raise Rejected(Reason("wrong_type", field.name, _explain_non_json(value) or str(error))) from error


def convert_uuid(value: Any) -> Any:
    """Return a UUID object as text, any other value unchanged."""
    return str(value) if isinstance(value, UUID) else value


def _convert_uuids(values: Any) -> Any:
    """Return filters in which each UUID object is text."""
    if isinstance(values, Mapping):
        return {name: _convert_uuids(value) for name, value in values.items()}
    if isinstance(values, list):
        return [convert_uuid(value) for value in values]
    return convert_uuid(values)


def _check_filters_are_json(filters: Mapping[str, Any]) -> None:
    messages = {name: _explain_non_json(_convert_uuids(value)) for name, value in filters.items()}
    reasons = [Reason("wrong_type", name, message) for name, message in messages.items() if message]
    if reasons:
        raise Refused(reasons, hint="give the filter a value its column could hold")


def _explain_non_json(value: Any) -> str:
    """Return why `value` cannot be written as JSON, "" if it can."""
    try:
        exact_json.dumps(value)
    except exact_json.ExactError as error:
        return str(error)
    return ""


def parse_organisation(org_id: Any) -> str:
    """Return the id of an organisation as Postgres writes it. Raises Refused when it is not a UUID."""
    if text := parse_uuid(org_id):
        return text
    if message := _explain_non_json(org_id):
        raise Refused([Reason("wrong_type", "org_id", message)])
    raise Refused([Reason("wrong_type", "org_id", _EXPECTED_UUID, shorten_json(org_id))])


def _load_row(row: bytes) -> dict[str, Any]:
    value = exact_json.loads(row)
    assert isinstance(value, dict)
    return value


# --- coroutines that run on the event loop --------------------------------------------------------------------------


async def _store_rows(statement: LiveUpsert, org_id: str, rows: list[Row], connection: Connection) -> list[bytes]:
    try:
        result = await statement.write_rows(connection, org_id, rows, all_or_none=True)
    except UnknownOrganisation as error:
        raise build_unknown_organisation_error(org_id) from error
    except SourceRefused as error:
        hint = "pass ids of one submission, run and step result of the organisation in `org_id`"
        raise SourceRefused(error.field, hint=hint) from error
    except Rejected as error:
        raise Refused(error.reasons) from error
    if result.refused or not result.rows:
        refused = [reason for _, reason in result.refused] or result.reasons
        raise Refused(refused, hint="the step result named as source gives no such row; the ledger has the reason")
    return [row.json for row in result.rows if isinstance(row, StoredRow)]


async def _fetch_page(plan: Plan, page_query: Query, connection: Connection) -> Page:
    page = await fetch_page(connection, plan, page_query)
    if not page.rows:  # no rows may mean that the organisation does not exist
        try:
            await check_organisation(connection, page_query.tenant)
        except UnknownOrganisation as error:
            raise build_unknown_organisation_error(page_query.tenant) from error
    return page


def build_unknown_organisation_error(org_id: str) -> Refused:
    """Return the error for an organisation that does not exist."""
    message = f"there is no organisation `{org_id}`"
    return Refused([Reason("unknown_organisation", "org_id", message)], hint="check the organisation's id")


# --- the project and the plan of a call -----------------------------------------------------------------------------


def find_statement(spec: str) -> tuple[LiveUpsert, Project]:
    """Return the upsert of `spec` and its project: the one around the working folder if it has the spec, else HOME.

    Raises UnknownSpec when neither has it, SpecErrors when the specs have mistakes.
    """
    project = _find_project()
    if not (project.specs / f"{spec}.yaml").is_file():
        project = HOME
    statements = _load_statements(project)
    plan = plans.find_plan([statement.plan for statement in statements.values()], spec)
    return statements[plan.name], project


def _find_project() -> Project:
    try:
        return find_project()
    except ProjectNotFound:
        return HOME


@lru_cache(maxsize=8)
def _load_statements(project: Project) -> dict[str, LiveUpsert]:
    return {plan.name: LiveUpsert.build(plan) for plan in plans.load_plans(project)}
