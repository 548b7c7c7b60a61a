"""The endpoint for copying a table incrementally: it lists the rows written or removed after a change number."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader
from api.http.named_schemas import NamedSchema
from api.http.responses import build_list_response
from api.rows import json_schemas
from api.rows.query_body import build_query_fault
from api.rows.spec_router import MAX_PAGE_BYTES, RowParameters, SpecRouter
from engine.generate.type_names import build_type_name
from engine.plan import Plan
from engine.rows.query import DEFAULT_LIMIT, MAX_LIMIT, QueryRejected, build_row_query
from engine.store.changes import fetch_changes
from engine.store.identity import check_organisation

_MAX_NUMBER: Final = 2**63 - 1


class ChangesParameters(RowParameters):
    """The parameters of a page of changes."""

    after: Annotated[
        int, Field(ge=0, le=_MAX_NUMBER, description="List changes with higher numbers; 0 begins with all rows.")
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="The most changes to list.")] = DEFAULT_LIMIT


def add_changes_endpoint(spec: SpecRouter) -> None:
    """Add the endpoint that lists the changes of a plan's rows."""
    plan = spec.plan
    number = {"type": "integer", "minimum": 0}
    meta = NamedSchema("ChangesMeta", {"type": "object", "required": ["next"], "properties": {"next": number}})
    spec.add_endpoint(
        "GET",
        f"/api/v1/{plan.slug}/changes",
        partial(_list_changes, plan),
        name=f"list_{plan.name}_changes",
        title="the rows written or removed since a change number",
        description="Read it page by page: send `meta.next` as `after`. A row that changes again is listed again, under"
        " a higher number; a removed one has `row` null. `meta.next` equals `after` when nothing is new.",
        answer=("Changes", {"type": "array", "items": _build_change_schema(plan)}, meta),
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


async def _list_changes(
    plan: Plan, caller: Reader, context: AppContext, parameters: Annotated[ChangesParameters, Query()]
) -> Response:
    org_id = choose_organisation(caller, parameters.org_id)
    try:
        query = build_row_query(plan, org_id, parameters.list_fields())
    except QueryRejected as error:
        raise build_query_fault(error) from error
    async with context.connection() as connection:
        changes = await fetch_changes(
            connection, plan, query, after=parameters.after, limit=parameters.limit, max_bytes=MAX_PAGE_BYTES
        )
        if not changes.entries:
            await check_organisation(connection, org_id)
    return build_list_response(changes.entries, {"next": changes.next})
