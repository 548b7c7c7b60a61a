"""The endpoints that explain a row: the source of each cell's value, and the row's earlier versions."""

# Without `from __future__ import annotations`: FastAPI needs the models in the annotations, which depend on a plan.
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader
from api.http.body import build_unknown_field_fault
from api.http.models import Data, Id, Omittable, OrganisationParameters
from api.http.named_schemas import NamedSchema
from api.http.responses import build_data_response, build_list_response
from api.rows import json_schemas
from api.rows.query_body import build_query_fault, parse_organisation
from api.rows.spec_router import RowId, SpecRouter, build_missing_row_fault
from engine.explain.history import DEFAULT_LIMIT, MAX_LIMIT, read_history
from engine.explain.key import explain_key
from engine.explain.key_lookup import KeyMatchState, parse_key
from engine.explain.key_states import KeyState
from engine.explain.row import RowState, explain_row
from engine.generate.type_names import build_type_name
from engine.plan import Plan
from engine.rows.query import QueryRejected
from engine.store.identity import check_organisation
from engine.values import exact_json
from engine.values.uuid_text import parse_uuid


class CellStep(BaseModel):
    """The value after one normalizer."""

    normalizer: str
    result: Any


class Evidence(BaseModel):
    """What the provider says about a field of its answer."""

    field: Annotated[str, Field(description="The field of the provider's answer it is about.")]
    citations: list[Any]
    reasoning: str | None
    confidence: str | None


class Cell(BaseModel):
    """Where the value of a cell comes from."""

    field: str
    value: Annotated[Any, Field(description="As it is stored.")]
    step_result_id: Annotated[Id | None, Field(description="The step result it comes from, or null.")]
    recorded_at: datetime | None = None
    operation: str | None = None
    element: Annotated[int | None, Field(description="Under `rows`: the index of the element.")] = None
    path: str | None
    raw: Annotated[Any, Field(description="The value at the path, before the normalizers.")]
    steps: Annotated[list[CellStep], Field(description="The result of each normalizer, in order.")]
    evidence: list[Evidence]
    note: Annotated[str | None, Field(description="A remark where the value has an unusual reason.")] = None


class Explanation(BaseModel):
    """A row, and where the values of its cells come from."""

    id: Id
    state: RowState
    explanation: str
    cells: list[Cell]


class RowKey(BaseModel):
    """A row and its key."""

    id: Id
    key: dict[str, Any]


class NoRow(BaseModel):
    """Why a key cannot be explained: it has no row, or several."""

    id: None
    explanation: str
    cells: Annotated[list[Any], Field(max_length=0)]


class KeyRows(NoRow):
    """The rows with the given part of a key."""

    state: KeyMatchState
    rows: Annotated[list[RowKey], Field(description="At most 20, in the order of their keys.")]
    more: Annotated[bool, Field(description="Whether some rows are left out.")]


class KeyFinding(BaseModel):
    """A step result, run or order that tells why a key has no row."""

    state: KeyState
    message: str
    step_result_id: Id
    recorded_at: datetime
    operation: str | None = None
    submission_id: Id | None = None
    pipeline_run_id: Id | None = None
    order_id: Id | None = None
    superseded_by: Id | None = None
    reasons: list[dict[str, Any]]


class KeyAbsence(NoRow):
    """What is known about a key without a row."""

    state: KeyState
    known: Annotated[list[KeyFinding], Field(description="The findings, newest first.")]


_KEY_COLUMN: Final = "A column of the key; normalized like the column, blank for null."


class ExplainParameters(OrganisationParameters):
    """The parameters of a request to explain a row."""

    field: Annotated[Omittable[str], Field(description="Only the cell of this field.")] = None


class HistoryParameters(OrganisationParameters):
    """The parameters of a request for a row's history."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="The most versions to list.")] = DEFAULT_LIMIT


def add_explain_endpoints(spec: SpecRouter) -> None:
    """Add the endpoints that explain a plan's keys and rows, and list the versions of a row."""
    plan = spec.plan
    spec.add_endpoint(
        "GET",
        f"/api/v1/{plan.slug}/explain",
        partial(_explain_key, plan),
        name=f"explain_{plan.name}_key",
        title="explain a key, with or without a row",
        description="The row of the key, explained. Without a row, the states of the key: never asked, ordered,"
        " running, failed, filtered, rejected, not listed, superseded. Columns of the key that are left out may have"
        " any value; where several rows have the rest, the answer lists them.",
        parameters={
            **{column.name: ({"type": "string"}, _KEY_COLUMN) for column in plan.key_fields},
            "org_id": ({"type": "string", "format": "uuid"}, "For super-admins: the organisation."),
        },
        response_model=Data[Explanation | KeyRows | KeyAbsence],
    )
    spec.add_endpoint(
        "GET",
        f"/api/v1/{plan.slug}/{{id}}/explain",
        partial(_explain_row, plan),
        name=f"explain_{plan.row_name}",
        title="where each cell of a row comes from",
        description="For every cell: its step result, the path, the raw value at the path, the result of each"
        " normalizer, and the provider's evidence.",
        response_model=Data[Explanation],
    )
    meta = {"type": "object", "required": ["more"], "properties": {"more": {"type": "boolean"}}}
    spec.add_endpoint(
        "GET",
        f"/api/v1/{plan.slug}/{{id}}/history",
        partial(_list_history, plan),
        name=f"list_{plan.row_name}_history",
        title="the versions of a row, one per step result that changed it",
        description="Newest first, computed from the step results. A row without step results has no history."
        " `meta.more` is true where older versions were left out.",
        answer=("History", {"type": "array", "items": _build_version_schema(plan)}, NamedSchema("HistoryMeta", meta)),
    )


def _build_version_schema(plan: Plan) -> NamedSchema:
    row = {"anyOf": [json_schemas.build_shown_row_schema(plan), {"type": "null"}]}
    version = {
        "type": "object",
        "required": ["step_result_id", "recorded_at", "row"],
        "properties": {
            "step_result_id": {"type": "string", "format": "uuid"},
            "recorded_at": {"type": "string", "format": "date-time"},
            "row": {**row, "description": "The row after this step result; null where that removed it."},
        },
    }
    return NamedSchema(build_type_name(plan, "Version"), version)


async def _explain_row(
    plan: Plan, id: RowId, caller: Reader, context: AppContext, parameters: Annotated[ExplainParameters, Query()]
) -> Response:
    org_id, row_id = choose_organisation(caller, parameters.org_id), parse_uuid(id)
    async with context.connection() as connection:
        try:
            found = await explain_row(connection, plan, org_id, row_id, parameters.field) if row_id else None
        except QueryRejected as error:
            raise build_query_fault(error) from error
        if found is None:
            await check_organisation(connection, org_id)
            raise build_missing_row_fault(plan)
    return build_data_response(exact_json.dumps(found.as_dict()))


async def _explain_key(plan: Plan, request: Request, caller: Reader, context: AppContext) -> Response:
    parameters = dict(request.query_params)
    known = (*(column.name for column in plan.key_fields), "org_id")
    if unknown := [name for name in parameters if name not in known]:
        raise build_unknown_field_fault(unknown, known)
    org_id = choose_organisation(caller, parse_organisation(parameters.pop("org_id", None)))
    async with context.connection() as connection:
        try:
            key = parse_key(plan, parameters)
            found = await explain_key(connection, plan, org_id, key, context.plans)
        except QueryRejected as error:
            raise build_query_fault(error) from error
        if found.state is KeyState.NEVER_ASKED:
            await check_organisation(connection, org_id)
    return build_data_response(exact_json.dumps(found.as_dict()))


async def _list_history(
    plan: Plan, id: RowId, caller: Reader, context: AppContext, parameters: Annotated[HistoryParameters, Query()]
) -> Response:
    org_id, row_id = choose_organisation(caller, parameters.org_id), parse_uuid(id)
    async with context.connection() as connection:
        history = await read_history(connection, plan, org_id, row_id, parameters.limit) if row_id else None
        if history is None:
            await check_organisation(connection, org_id)
            raise build_missing_row_fault(plan)
    versions = [exact_json.dumps(version.as_dict()) for version in history.versions]
    return build_list_response(versions, {"more": history.more})
