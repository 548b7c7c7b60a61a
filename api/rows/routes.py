"""The endpoints of a plan: upsert, query and one row; further ones are added from other modules.

Documents are not decoded: their JSON text is passed to and from Postgres unchanged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.auth import (
    ORG_HEADER,
    authenticate_tenant_or_admin,
    choose_organisation,
    read_organisation,
    require_internal_key,
)
from api.context import get_context
from api.dependencies import AppContext, Reader, find_reader, require_organisation
from api.http.body import MAX_QUERY_BYTES, read_body
from api.http.errors import Fault
from api.http.responses import build_data_response, build_list_response
from api.http.route import DocumentRoute
from api.http.telemetry import bind_run
from api.rows import json_schemas
from api.rows.changes import add_changes_endpoint
from api.rows.explain import add_explain_endpoints
from api.rows.export import add_export_endpoint
from api.rows.query_body import QueryBody, build_query_fault
from api.rows.spec_router import MAX_PAGE_BYTES, RowId, RowParameters, SpecRouter, build_missing_row_fault
from api.rows.upsert_body import RowsRejected, UpsertBody
from engine.backfill.live import LiveResult, LiveUpsert
from engine.generate.examples import build_filters_example, build_upsert_example
from engine.plan import Plan
from engine.rows.cursor import CursorSigner
from engine.rows.extract import Reason, Rejected
from engine.rows.outcomes import find_strongest
from engine.rows.query import QueryRejected, build_row_query
from engine.store.errors import StoreRefused
from engine.store.identity import check_organisation
from engine.store.select import fetch_page, fetch_row
from engine.store.upsert import SourceRefused, StoredRow
from engine.values.uuid_text import parse_uuid


def add_spec_endpoints(router: APIRouter, plan: Plan, components: dict[str, Any]) -> None:
    """Add all endpoints of `plan` to `router`, and the schemas they name to `components`."""
    spec = SpecRouter(plan, router, components)
    _add_upsert_endpoint(spec)
    _add_query_endpoint(spec)
    add_export_endpoint(spec)
    add_changes_endpoint(spec)
    add_explain_endpoints(spec)
    _add_row_endpoint(spec)  # last, since its `{id}` would also match `changes` and `explain`


def _add_upsert_endpoint(spec: SpecRouter) -> None:
    plan = spec.plan
    conflict = ", ".join(f"`{name}`" for name in plan.conflict)
    spec.add_endpoint(
        "POST",
        f"/api/internal/{plan.slug}/upsert",
        partial(_upsert_rows, LiveUpsert.build(plan)),
        name=f"upsert_{plan.row_name}",
        title=f"write {'rows' if plan.many else 'a row'}",
        description=f"{plan.description} Conflict columns: {conflict}.".strip(),
        body=json_schemas.build_upsert_body_schema(plan),
        body_example=build_upsert_example(plan),
        body_required=True,
        answer=("UpsertAnswer", *json_schemas.build_upsert_answer_schemas(plan)),
        errors=(400, 401, 403, 404, 409, 413, 415, 422, 503),
        dependencies=[Depends(require_organisation)],
        route_class=DocumentRoute,
    )


def _add_query_endpoint(spec: SpecRouter) -> None:
    plan = spec.plan
    spec.add_endpoint(
        "POST",
        f"/api/v1/{plan.slug}/query",
        partial(_query_rows, plan),
        name=f"query_{plan.name}",
        title="query rows",
        body=json_schemas.build_query_body_schema(plan),
        body_example={**build_filters_example(plan), "order": ["-updated_at"], "limit": 10},
        answer=("Page", *json_schemas.build_query_answer_schemas(plan)),
        errors=(400, 401, 403, 404, 413, 415, 422, 503),
        dependencies=[Depends(find_reader)],
        route_class=DocumentRoute,
    )


def _add_row_endpoint(spec: SpecRouter) -> None:
    plan = spec.plan
    spec.add_endpoint(
        "GET",
        f"/api/v1/{plan.slug}/{{id:row_id}}",
        partial(_get_row, plan),
        name=f"get_{plan.row_name}",
        title="one row",
        answer=("Answer", json_schemas.build_shown_row_schema(plan), None),
    )


async def _upsert_rows(upsert: LiveUpsert, request: Request) -> Response:
    context = get_context(request)
    require_internal_key(request, context)
    org_id = read_organisation(request)
    body = UpsertBody.parse(upsert.plan, await read_body(request))
    bind_run(body.rows[0].get("source_pipeline_run_id") if body.rows else None)
    async with context.connection() as connection:
        try:
            result = await upsert.write_rows(connection, org_id, body.rows)
        except SourceRefused as error:
            raise _build_source_fault(error) from error
        except Rejected as error:
            raise RowsRejected([*body.rejected, *error.reasons]) from error
    context.metrics.count_differing_claims(upsert.plan.name, len(result.claims))
    stored = [row for row in result.rows if isinstance(row, StoredRow)]
    rejected = body.rejected + _list_refused_rows(result, body, upsert.plan)
    if not stored and (rejected or result.outcome is None):
        raise RowsRejected(rejected)
    for row in stored:
        context.metrics.count_upsert(upsert.plan.name, row.outcome)
    if not stored:
        return _answer_without_rows(upsert.plan, result)
    if not upsert.plan.many:
        return build_data_response(stored[0].json, {"outcome": stored[0].outcome})
    return build_list_response([row.json for row in stored], _build_upsert_meta(stored, rejected))


def _answer_without_rows(plan: Plan, result: LiveResult) -> Response:
    """Build the response to an upsert that wrote nothing, as its stored step result gives none of the posted rows."""
    meta: dict[str, Any] = {"outcome": result.outcome, "detail": [reason.as_dict() for reason in result.reasons]}
    return (
        build_list_response([], {**meta, "outcomes": {}, "rejected": []})
        if plan.many
        else build_data_response(b"null", meta)
    )


def _list_refused_rows(result: LiveResult, body: UpsertBody, plan: Plan) -> list[Reason]:
    """Return why Postgres refused rows; if the body has `rows`, each reason has the index of its element."""
    refused = [(place, reason) for place, reason in result.refused]
    if not result.refused:
        refused += [
            (place, Reason("refused_by_database", row.column, row.message))
            for place, row in enumerate(result.rows)
            if isinstance(row, StoreRefused)
        ]
    return [replace(reason, element=body.elements[place] if plan.many else None) for place, reason in refused]


def _build_upsert_meta(stored: list[StoredRow], rejected: list[Reason]) -> dict[str, Any]:
    outcomes = Counter(row.outcome for row in stored)
    return {
        "outcome": find_strongest(outcomes),
        "outcomes": dict(outcomes),
        "rejected": [reason.as_dict() for reason in rejected],
    }


def _build_source_fault(error: SourceRefused) -> Fault:
    hint = f"send ids of one submission, run and step result of the organisation in `{ORG_HEADER}`"
    detail = [{"code": "foreign_source", "field": error.field, "message": error.message}]
    return Fault("foreign_source", error.message, hint=hint, detail=detail)


async def _query_rows(plan: Plan, request: Request) -> Response:
    context = get_context(request)
    caller = await authenticate_tenant_or_admin(request, context)
    body = QueryBody.parse(plan, await read_body(request, MAX_QUERY_BYTES))
    org_id = choose_organisation(caller, body.org_id)
    signer = CursorSigner.from_secrets(context.settings.jwt_secrets)
    query = body.build_query(plan, org_id, signer)
    async with context.connection() as connection:
        page = await fetch_page(connection, plan, query, MAX_PAGE_BYTES)
        if not page.rows:
            await check_organisation(connection, org_id)
    meta = {"limit": query.limit, "offset": query.offset, "next_cursor": signer.encode_cursor(plan, query, page.last)}
    return build_list_response(page.rows, meta if page.count is None else {**meta, "count": page.count})


async def _get_row(
    plan: Plan, id: RowId, caller: Reader, context: AppContext, parameters: Annotated[RowParameters, Query()]
) -> Response:
    org_id, row_id = choose_organisation(caller, parameters.org_id), parse_uuid(id)
    try:
        query = build_row_query(plan, org_id, parameters.list_fields())
    except QueryRejected as error:
        raise build_query_fault(error) from error
    async with context.connection() as connection:
        row = await fetch_row(connection, plan, query, row_id) if row_id else None
        if row is None:
            await check_organisation(connection, org_id)
            raise build_missing_row_fault(plan)
    return build_data_response(row)
