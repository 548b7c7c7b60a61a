"""The endpoints that answer who the caller is, and which organisations it may read."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Caller, authenticate_tenant_or_admin
from api.context import Context
from api.http.endpoint import build_data_response, build_list_response, endpoint
from api.http.openapi import build_data_schema
from api.rows.tenant import TENANT_HEADERS
from engine.store.identity import list_organisations

#: The most organisations in one answer. There are no further pages: an operator with more queries the database.
MOST_ORGANISATIONS: Final = 5000
ORGANISATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "name", "slug"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "name": {"type": "string"},
        "slug": {"type": "string"},
    },
}
_CALLER: Final = {
    "type": "object",
    "required": ["kind", "role", "org_id", "company_id", "subject"],
    "properties": {
        "kind": {"type": "string", "enum": ["internal", "super_admin", "session", "token"]},
        "role": {"type": "string"},
        "org_id": {"type": ["string", "null"], "description": "null: a super-admin, of no organisation."},
        "company_id": {"type": ["string", "null"]},
        "subject": {"type": ["string", "null"], "description": "The id of the user or of the token."},
    },
}


@endpoint(
    "GET",
    "/api/v1/caller",
    name="read_caller",
    title="The caller: its kind of credentials, role and organisation",
    tag="callers",
    response_schema=build_data_schema(_CALLER),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    error_statuses=(400, 401, 503),
)
async def read_caller(context: Context, request: Request) -> Response:
    """Answer the caller's kind of credentials, role, organisation and company."""
    caller = await authenticate_tenant_or_admin(request, context)
    return build_data_response(msgspec.json.encode(_describe_caller(caller)))


def _describe_caller(caller: Caller) -> dict[str, Any]:
    return {
        "kind": caller.kind,
        "role": caller.role,
        "org_id": caller.org_id,
        "company_id": caller.company_id,
        "subject": caller.subject,
    }


@endpoint(
    "GET",
    "/api/v1/organisations",
    name="list_organisations",
    title="The organisations that the caller may read, by name: its own, or all for a super-admin",
    tag="callers",
    response_schema=build_data_schema({"type": "array", "items": ORGANISATION}, {"type": "object"}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    error_statuses=(400, 401, 503),
)
async def answer_organisations(context: Context, request: Request) -> Response:
    """Answer the organisations that the caller may read: its own, or all to a super-admin."""
    caller = await authenticate_tenant_or_admin(request, context)
    async with context.connection() as connection:
        texts = await list_organisations(connection, caller.org_id, MOST_ORGANISATIONS)
    return build_list_response([text.encode() for text in texts], {"limit": MOST_ORGANISATIONS})


CALLER_ENDPOINTS = (read_caller, answer_organisations)
