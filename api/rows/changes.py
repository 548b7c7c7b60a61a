"""The endpoint from which a client copies a table incrementally: the rows written or removed since a change number."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.context import Context
from api.http.body import read_number
from api.http.endpoint import Endpoint, build_list_response
from api.http.named_schemas import NamedSchema
from api.http.openapi import build_data_schema
from api.rows import json_schemas
from api.rows.query_body import build_query_fault
from api.rows.tenant import MAX_PAGE_BYTES, TENANT_HEADERS, read_tenant_parameters
from engine.generate.type_names import build_type_name
from engine.plan import Plan
from engine.rows.query import DEFAULT_LIMIT, MAX_LIMIT, QueryRejected, build_row_query
from engine.store.changes import fetch_changes
from engine.store.identity import check_organisation

_MAX_NUMBER: Final = 2**63 - 1


def build_changes_endpoint(plan: Plan) -> Endpoint:
    """Build the endpoint that lists the changes of a plan's rows."""
    number = {"type": "integer", "minimum": 0}
    return Endpoint(
        method="GET",
        path=f"/api/v1/{plan.slug}/changes",
        name=f"list_{plan.name}_changes",
        title=f"{plan.title}: the rows written or removed since a change number",
        description="Read it page by page: send `meta.next` as `after`. A row that changes again is listed again, under"
        " a higher number; a removed one has `row` null. `meta.next` equals `after` when nothing is new.",
        tag=plan.name,
        response_schema=build_data_schema(
            {"type": "array", "items": _build_change_schema(plan)},
            NamedSchema("ChangesMeta", {"type": "object", "required": ["next"], "properties": {"next": number}}),
            name=build_type_name(plan, "Changes"),
        ),
        security=("tenant", "superAdmin"),
        headers=TENANT_HEADERS,
        parameters={
            "after": ({**number, "default": 0}, "List changes with higher numbers; 0 begins with all rows there are."),
            "limit": (
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                "The most changes to list.",
            ),
            "fields": ({"type": "string"}, "Columns and paths to show, separated by commas. Default: every column."),
            "org_id": ({"type": "string", "format": "uuid"}, "For super-admins: the organisation."),
        },
        error_statuses=(400, 401, 403, 404, 422, 503),
        respond=partial(_list_changes, plan),
    )


def _build_change_schema(plan: Plan) -> dict[str, Any]:
    row = {"anyOf": [json_schemas.build_shown_row_schema(plan), {"type": "null"}]}
    change = {
        "type": "object",
        "required": ["number", "kind", "id", "row"],
        "properties": {
            "number": {"type": "integer", "minimum": 1},
            "kind": {"type": "string", "enum": ["written", "removed"]},
            "id": {"type": "string", "format": "uuid"},
            "row": {**row, "description": "The row as it is now; null where it was removed."},
        },
    }
    return NamedSchema(build_type_name(plan, "Change"), change)


async def _list_changes(plan: Plan, context: Context, request: Request) -> Response:
    org_id, parameters = await read_tenant_parameters(request, context, ("after", "limit", "fields", "org_id"))
    after = read_number(parameters, "after", 0, 0, _MAX_NUMBER)
    limit = read_number(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    fields = parameters.get("fields")
    try:
        query = build_row_query(plan, org_id, None if fields is None else fields.split(","))
    except QueryRejected as error:
        raise build_query_fault(error) from error
    async with context.connection() as connection:
        found = await fetch_changes(connection, plan, query, after=after, limit=limit, max_bytes=MAX_PAGE_BYTES)
        if not found.entries:
            await check_organisation(connection, org_id)
    return build_list_response(found.entries, {"next": found.next})
