"""Explain stored rows by synchronous calls: the implementation of the generated functions about one row."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn, TypedDict, cast
from uuid import UUID

from engine.errors import EngineError
from engine.explain.history import History, read_history
from engine.explain.row import Explanation, explain_row
from engine.functions.call import build_unknown_organisation_error, convert_uuid, find_statement, parse_organisation
from engine.functions.event_loop import call_with_connection
from engine.plan import Plan
from engine.rows.given_values import Refused
from engine.rows.query import QueryRejected
from engine.store.connection import Connection
from engine.store.errors import UnknownOrganisation
from engine.store.identity import check_organisation
from engine.values.uuid_text import parse_uuid


class Step(TypedDict):
    """The value after one normalizer."""

    normalizer: str
    result: Any


class Evidence(TypedDict):
    """The provider's evidence for a part of its answer."""

    field: str
    citations: list[Any]
    reasoning: str | None
    confidence: str | None


class Cell(TypedDict):
    """A stored value and how it came about; without a step result for it, the keys after `value` are None or empty."""

    field: str
    value: Any
    step_result_id: str | None
    recorded_at: str | None
    operation: str | None
    element: int | None
    path: str | None
    raw: Any
    steps: list[Step]
    evidence: list[Evidence]
    note: str | None


class ExplainedRow(TypedDict):
    """A row and where its cells come from. `state` is `sourced`, `pending`, `changed` or `unsourced`."""

    id: str
    state: str
    explanation: str
    cells: list[Cell]


class RowMissing(EngineError):
    """The organisation has no row with this id."""


def explain(spec: str, *, org_id: str, id: str | UUID, field: str | None = None) -> ExplainedRow:
    """Return where the cells of a row of `spec` come from: all of them, or only the cell of `field`.

    Raises Refused for an unknown field or organisation, RowMissing, StoreUnavailable.
    """
    statement, home = find_statement(spec)
    plan, org_id, row_id = statement.plan, parse_organisation(org_id), convert_uuid(id)
    try:
        explanation = call_with_connection(home, partial(_explain_row, plan, org_id, row_id, field))
    except QueryRejected as error:
        raise Refused(error.reasons, hint=error.hint) from error
    return cast("ExplainedRow", explanation.as_dict())


def list_versions(spec: str, *, org_id: str, id: str | UUID, limit: int = 100) -> list[dict[str, Any]]:
    """Return the versions of a row of `spec`, one per contributing step result, newest first.

    Each has `step_result_id`, `recorded_at` and `row`. Raises Refused for an unknown organisation, RowMissing,
    StoreUnavailable.
    """
    statement, home = find_statement(spec)
    org_id, row_id = parse_organisation(org_id), convert_uuid(id)
    history = call_with_connection(home, partial(_read_history, statement.plan, org_id, row_id, limit))
    return [version.as_dict() for version in history.versions]


async def _explain_row(plan: Plan, org_id: str, row_id: str, field: str | None, connection: Connection) -> Explanation:
    text = parse_uuid(row_id)
    explanation = await explain_row(connection, plan, org_id, text, field) if text else None
    return explanation or await _raise_row_missing(connection, plan, org_id, row_id)


async def _read_history(plan: Plan, org_id: str, row_id: str, limit: int, connection: Connection) -> History:
    text = parse_uuid(row_id)
    history = await read_history(connection, plan, org_id, text, limit) if text else None
    return history or await _raise_row_missing(connection, plan, org_id, row_id)


async def _raise_row_missing(connection: Connection, plan: Plan, org_id: str, row_id: str) -> NoReturn:
    try:
        await check_organisation(connection, org_id)
    except UnknownOrganisation as error:
        raise build_unknown_organisation_error(org_id) from error
    raise RowMissing(f"there is no row `{row_id}` of `{plan.name}`", hint="check the id and the organisation")
