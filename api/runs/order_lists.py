"""The endpoints that list a tenant's orders and sum its costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.context import Context
from api.http.body import read_number
from api.http.endpoint import build_list_response, endpoint
from api.http.errors import InvalidBody
from api.http.openapi import build_data_schema
from api.rows.tenant import read_tenant_parameters
from api.runs.submissions import HEADERS
from engine.orders import listing
from engine.orders.statuses import OrderStatus

_MONTH: Final = re.compile(r"^[0-9]{4}-(0[1-9]|1[0-2])$", re.ASCII)
_OPERATION: Final = re.compile(r"^[!-~]{1,200}$")
_MOST_OFFSET: Final = 1_000_000
_ORG_PARAMETER: Final = {"org_id": ({"type": "string", "format": "uuid"}, "For super-admins: the organisation.")}
_ORDER_PARAMETERS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "status": ({"type": "string", "enum": [status.value for status in OrderStatus]}, "Only orders with this status."),
    "operation": ({"type": "string", "pattern": _OPERATION.pattern}, "Only orders of this operation."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": listing.MAX_ORDERS, "default": 100}, "Page size."),
    "offset": ({"type": "integer", "minimum": 0, "maximum": _MOST_OFFSET, "default": 0}, "Orders to skip."),
    **_ORG_PARAMETER,
}
_COST_PARAMETERS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "month": ({"type": "string", "pattern": _MONTH.pattern}, "Only this month (UTC), such as `2026-11`."),
    **_ORG_PARAMETER,
}


@endpoint(
    "GET",
    "/api/v1/orders",
    name="list_orders",
    title="The orders to research providers, newest first",
    tag="orders",
    response_schema=build_data_schema({"type": "array", "items": {"type": "object"}}, {"type": "object"}),
    security=("tenant", "superAdmin"),
    headers=HEADERS,
    parameters=_ORDER_PARAMETERS,
    error_statuses=(400, 401, 403, 422, 503),
)
async def list_orders(context: Context, request: Request) -> Response:
    """Answer the orders of the request's organisation that match status and operation, newest first."""
    org_id, parameters = await read_tenant_parameters(request, context, _ORDER_PARAMETERS)
    status, operation = parameters.get("status"), parameters.get("operation")
    if status is not None and status not in list(OrderStatus):
        known = ", ".join(f"`{one}`" for one in OrderStatus)
        raise InvalidBody(f"`status` is `{status[:40]}`, not one of {known}", field="status")
    if operation is not None and not _OPERATION.fullmatch(operation):
        raise InvalidBody("`operation` is no operation's id", field="operation")
    wanted = listing.OrderFilter(
        org_id=org_id,
        status=status,
        operation=operation,
        limit=read_number(parameters, "limit", 100, 1, listing.MAX_ORDERS),
        offset=read_number(parameters, "offset", 0, 0, _MOST_OFFSET),
    )
    async with context.connection() as connection:
        found = await listing.list_orders(connection, wanted, as_tenant=True)
    return build_list_response([text.encode() for text in found], {"limit": wanted.limit, "offset": wanted.offset})


@endpoint(
    "GET",
    "/api/v1/costs",
    name="list_costs",
    title="The costs of research, by operation and month (UTC)",
    tag="orders",
    response_schema=build_data_schema({"type": "array", "items": {"type": "object"}}, {"type": "object"}),
    security=("tenant", "superAdmin"),
    headers=HEADERS,
    parameters=_COST_PARAMETERS,
    error_statuses=(400, 401, 403, 422, 503),
)
async def list_costs(context: Context, request: Request) -> Response:
    """Answer the costs of the request's organisation, summed by operation and month."""
    org_id, parameters = await read_tenant_parameters(request, context, _COST_PARAMETERS)
    month = parameters.get("month")
    if month is not None and not _MONTH.fullmatch(month):
        raise InvalidBody(f"`month` is `{month[:40]}`, no month such as `2026-11`", field="month")
    async with context.connection() as connection:
        found = await listing.sum_costs(connection, org_id, month=month, as_tenant=True)
    return build_list_response([text.encode() for text in found], {})


ORDER_LIST_ENDPOINTS = (list_orders, list_costs)
