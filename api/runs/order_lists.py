"""The endpoints that list a tenant's orders and sum its costs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader
from api.http.models import DataWithMeta, Omittable, OrganisationParameters, Page
from api.http.openapi import describe_errors
from api.http.responses import build_list_response
from api.http.route import ROUTER_OPTIONS
from engine.orders import listing
from engine.orders.statuses import OrderStatus
from engine.spec.models import OPERATION_ID
from engine.store.identity import check_organisation

_MOST_OFFSET: Final = 1_000_000

router = APIRouter(
    prefix="/api/v1", tags=["orders"], responses=describe_errors(400, 401, 403, 404, 422, 503), **ROUTER_OPTIONS
)


class OrderParameters(OrganisationParameters):
    """Which orders to list."""

    status: Annotated[Omittable[OrderStatus], Field(description="Only orders with this status.")] = None
    operation: Annotated[
        Omittable[Annotated[str, Field(pattern=OPERATION_ID)]], Field(description="Only orders of this operation.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=listing.MAX_ORDERS, description="Page size.")] = 100
    offset: Annotated[int, Field(ge=0, le=_MOST_OFFSET, description="Orders to skip.")] = 0


class CostParameters(OrganisationParameters):
    """Which costs to sum."""

    month: Annotated[
        Omittable[Annotated[str, Field(pattern=f"^{listing.MONTH}$")]],
        Field(description="Only this month (UTC), such as `2026-11`."),
    ] = None


@router.get(
    "/orders",
    summary="The orders to research providers, newest first",
    response_model=DataWithMeta[list[dict[str, Any]], Page],
)
async def list_orders(caller: Reader, context: AppContext, parameters: Annotated[OrderParameters, Query()]) -> Response:
    """Return the orders of the request's organisation that match status and operation, newest first."""
    org_id = choose_organisation(caller, parameters.org_id)
    wanted = listing.OrderFilter(
        org_id=org_id,
        status=parameters.status,
        operation=parameters.operation,
        limit=parameters.limit,
        offset=parameters.offset,
    )
    async with context.connection() as connection:
        texts = await listing.list_orders(connection, wanted, as_tenant=True)
        if not texts:
            await check_organisation(connection, org_id)
    return build_list_response([text.encode() for text in texts], {"limit": wanted.limit, "offset": wanted.offset})


@router.get(
    "/costs",
    summary="The costs of research, by operation and month (UTC)",
    response_model=DataWithMeta[list[dict[str, Any]], dict[str, Any]],
)
async def list_costs(caller: Reader, context: AppContext, parameters: Annotated[CostParameters, Query()]) -> Response:
    """Return the costs of the request's organisation, summed by operation and month."""
    org_id = choose_organisation(caller, parameters.org_id)
    async with context.connection() as connection:
        texts = await listing.sum_costs(connection, org_id, month=parameters.month, as_tenant=True)
        if not texts:
            await check_organisation(connection, org_id)
    return build_list_response([text.encode() for text in texts], {})
