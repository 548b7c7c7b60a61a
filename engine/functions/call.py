"""The doors of the typed functions: plain calls into the async store.

In: a spec by name, an organisation, values as Python holds JSON. Out: rows as Python holds JSON, every number as it was
written. It must not know any spec in particular, nor HTTP.

The store is async and stays so; `engine/functions/event_loop.py` is where a plain call waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from engine import plans, project
from engine.functions.event_loop import close, run
from engine.plan import Field, Plan
from engine.project import Project, ProjectNotFound
from engine.rows import given_values
from engine.rows.extract import Reason, Rejected, Row, admit
from engine.rows.given_values import Refused
from engine.rows.query_words import Question, QuestionRefused, ask
from engine.store import organisation, select
from engine.store.connection import Connection
from engine.store.errors import FOREIGN_KEY, StoreRefused
from engine.store.upsert import SourceRefused, Upsert
from engine.values import exact_json
from engine.values.column_types import TYPES, CastError, shorten

__all__ = ["Refused", "SourceRefused", "close", "query", "upsert", "upsert_many"]

#: The project these functions were generated in: `engine/functions/call.py` lies two levels below it.
HOME: Final = Project(Path(__file__).resolve().parents[2])


def upsert(spec: str, *, org_id: str, values: Mapping[str, Any], **source: str | None) -> dict[str, Any]:
    """Write one row of `spec` and return it as it stands then. `source` holds source columns.

    Raises Refused naming every value that cannot be stored, SourceRefused for a source of another organisation,
    StoreRefused for what the database refuses, StoreUnavailable when it does not answer. Nothing is written then.
    """
    statement, where = _find(spec)
    row, reasons = given_values.row(statement.plan, values, _admit)
    return _write(statement, where, org_id, [row], reasons, source)[0]


def upsert_many(
    spec: str, *, org_id: str, rows: Iterable[Mapping[str, Any]], **source: str | None
) -> list[dict[str, Any]]:
    """Write rows of `spec`, all or none, and return them as they stand then, in the order of their keys.

    Of rows with the same key the last one wins. Raises as `upsert`; a reason's `element` counts rows from 0.
    """
    statement, where = _find(spec)
    known = {field.name for field in statement.plan.fields}
    admitted, reasons = [], []
    for index, values in enumerate(rows):
        row, against = given_values.row(statement.plan, values, _admit)
        unknown = [
            Reason("unknown_field", name, f"unknown field `{name}`") for name in sorted(values.keys() - known, key=str)
        ]
        admitted.append(row)
        reasons += [replace(reason, element=index) for reason in (*against, *unknown)]
    return _write(statement, where, org_id, admitted, reasons, source)


def query(
    spec: str, *, org_id: str, filters: Mapping[str, Any], limit: int = 100, offset: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of `spec` that match every filter, newest first; None is no filter.

    Raises Refused for a value that cannot be used and for an organisation that does not exist, StoreUnavailable when
    the database does not answer.
    """
    statement, where = _find(spec)
    _must_be_json(filters)
    try:
        question = ask(statement.plan, _organisation(org_id), {**filters, "limit": limit, "offset": offset})
    except QuestionRefused as error:
        raise Refused(error.reasons, hint=error.hint) from error
    return [_loaded(row) for row in run(where, partial(_fetch, statement.plan, question))]


def _write(
    statement: Upsert,
    where: Project,
    org_id: str,
    rows: list[Row],
    reasons: list[Reason],
    source: Mapping[str, Any],
) -> list[dict[str, Any]]:
    sources, against = given_values.sources({name: _plain(value) for name, value in source.items()})
    org_id = _organisation(org_id)
    if reasons or against:
        raise Refused([*reasons, *against])
    folded = given_values.fold(statement.plan, ({**row, **sources} for row in rows))
    return [_loaded(row) for row in run(where, partial(_store, statement, org_id, folded))] if folded else []


def _admit(field: Field, value: Any) -> Any:
    try:
        return admit(field, _plain(value))
    except (TypeError, exact_json.ExactError) as error:  # a Python object that is no JSON value
        raise Rejected(Reason("wrong_type", field.name, _not_json(value) or str(error))) from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _must_be_json(filters: Mapping[str, Any]) -> None:
    reasons = [Reason("wrong_type", name, said) for name, value in filters.items() if (said := _not_json(value))]
    if reasons:
        raise Refused(reasons, hint="give the filter a value its column could hold")


def _not_json(value: Any) -> str:
    try:
        exact_json.dumps(value)
    except exact_json.ExactError as error:
        return str(error)
    return ""


def _organisation(org_id: Any) -> str:
    org_id = _plain(org_id)
    if said := _not_json(org_id):
        raise Refused([Reason("wrong_type", "org_id", said)])
    try:
        return str(TYPES["uuid"].cast(org_id))
    except CastError as error:
        raise Refused([Reason("wrong_type", "org_id", str(error), shorten(org_id))]) from error


def _loaded(row: bytes) -> dict[str, Any]:
    value = exact_json.loads(row)
    assert isinstance(value, dict)
    return value


# --- what runs on the event loop ------------------------------------------------------------------------------------


async def _store(statement: Upsert, org_id: str, rows: list[Row], connection: Connection) -> list[bytes]:
    try:
        return [stored.json for stored in await statement.run(connection, org_id, rows)]
    except (SourceRefused, StoreRefused) as error:
        if isinstance(error, SourceRefused) or error.sqlstate == FOREIGN_KEY:
            await _must_exist(connection, org_id)
        raise


async def _fetch(plan: Plan, question: Question, connection: Connection) -> tuple[bytes, ...]:
    found = await select.fetch(connection, plan, question)
    if not found.rows:  # an organisation that does not exist must not look like one without rows
        await _must_exist(connection, question.tenant)
    return found.rows


async def _must_exist(connection: Connection, org_id: str) -> None:
    if not await organisation.exists(connection, org_id):
        message = f"there is no organisation `{org_id}`"
        raise Refused([Reason("unknown_organisation", "org_id", message)], hint="check the organisation's id")


# --- which project, which plan --------------------------------------------------------------------------------------


def _find(spec: str) -> tuple[Upsert, Project]:
    """The plan with its statement, and its project: that of the working folder where it has the spec, else our own."""
    where = _here()
    if not (where.specs / f"{spec}.yaml").is_file():
        where = HOME
    statements = _statements(where)
    return statements[plans.pick([one.plan for one in statements.values()], spec).name], where


def _here() -> Project:
    try:
        return project.find()
    except ProjectNotFound:
        return HOME


@lru_cache(maxsize=8)
def _statements(where: Project) -> dict[str, Upsert]:
    return {plan.name: Upsert.of(plan) for plan in plans.load(where)}
