"""The endpoints of orders: the runner places them and reports what became of them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET, Meta, Raw, UnsetType
from starlette.responses import Response

from api.http.endpoint import Endpoint, build_data_response, build_list_response
from api.http.errors import InvalidBody
from api.runs.routes import Body, Name, RunnerCall, Seconds, Text, Time, repair_run_rows, runner_endpoint
from engine.orders import collection, orders
from engine.orders.freshness import get_freshness_seconds
from engine.orders.statuses import OrderStatus
from engine.runs.statuses import StepStatus
from engine.store.connection import RawJson

log = structlog.get_logger("api")

ORDER_ENDPOINTS: list[Endpoint] = []

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the question, in hexadecimal.")]
PageSize = Annotated[float, Meta(ge=1, le=1000, multiple_of=1)]


class Placing(Body, frozen=True):
    """Ask for the answer to a question: what the step's order is, and what to do about it."""

    step_result_id: UUID
    operation: Name
    provider: Name
    processor: Name
    question: Digest
    holder: Annotated[Name, Meta(description="Names this attempt; another one has another name.")]
    hold_seconds: Seconds = 60
    refresh: bool = False
    output: dict[str, Raw] | None = None
    lease_token: UUID | None = None


class Acceptance(Body, frozen=True):
    """Say that the provider accepted an order."""

    order_id: UUID
    provider_run_id: Name


class Refusal(Body, frozen=True):
    """Say that the provider certainly did not accept an order, or that nobody can know."""

    order_id: UUID
    holder: Name
    message: Text


class Ending(Body, frozen=True):
    """Say how an order ended at the provider."""

    order_id: UUID
    status: OrderStatus
    answer: Raw | UnsetType = UNSET
    code: Name | None = None
    message: Text | None = None


class Release(Body, frozen=True):
    """Let another step ask for the answer."""

    order_id: UUID
    holder: Name


class Collecting(Body, frozen=True):
    """Ask for orders to collect, oldest first."""

    order_id: UUID | None = None
    held_too: bool = False
    after_time: Time | None = None
    after_id: UUID | None = None
    limit: PageSize = 50


class Settling(Body, frozen=True):
    """Give the answer of an order to the step that bought it."""

    order_id: UUID
    status: StepStatus
    output_payload: Raw
    error_message: Text | None = None
    error_details: Raw | UnsetType = UNSET


@runner_endpoint(
    "research-orders/place", Placing, "Take the order of a question, or make one", endpoints=ORDER_ENDPOINTS
)
async def place_order(call: RunnerCall[Placing]) -> Response:
    """Attach a step to the order of its question, or make one, and say what to do next."""
    body = call.body
    request = orders.OrderRequest(
        step_result_id=str(body.step_result_id),
        lease_token=str(body.lease_token) if body.lease_token else None,
        operation=body.operation,
        provider=body.provider,
        processor=body.processor,
        question=body.question,
        output=None if body.output is None else RawJson(msgspec.json.encode(body.output)),
        holder=body.holder,
        hold_seconds=int(body.hold_seconds),
        fresh_for=get_freshness_seconds(call.context.plans, body.operation),
        refresh=body.refresh,
    )
    async with call.context.connection() as connection:
        placement = await orders.place_order(connection, request, call.context.prices, call.org_id)
    log.info("order", step_result_id=request.step_result_id, action=placement.action, code=placement.code)
    return build_data_response(_encode_placement(placement))


def _encode_placement(placement: orders.Placement) -> bytes:
    """Write a placement as JSON, the order and its answer as Postgres wrote them."""
    fields: dict[str, Any] = {"action": placement.action, "code": placement.code, "message": placement.message}
    fields["order"] = None if placement.order is None else Raw(placement.order.encode())
    if placement.answer is not None:
        fields["answer"] = Raw(placement.answer.encode())
    return msgspec.json.encode(fields)


@runner_endpoint(
    "research-orders/accepted", Acceptance, "Say that the provider accepted an order", endpoints=ORDER_ENDPOINTS
)
async def record_acceptance(call: RunnerCall[Acceptance]) -> Response:
    """Record the provider's run id of an order."""
    async with call.context.connection() as connection:
        order = await orders.record_acceptance(
            connection, str(call.body.order_id), call.body.provider_run_id, call.org_id
        )
    return build_data_response(order)


@runner_endpoint(
    "research-orders/not-accepted", Refusal, "Say that nothing was bought with an order", endpoints=ORDER_ENDPOINTS
)
async def record_refusal(call: RunnerCall[Refusal]) -> Response:
    """Record that the provider certainly did not accept an order."""
    body = call.body
    async with call.context.connection() as connection:
        order = await orders.record_refusal(
            connection, str(body.order_id), body.message, call.org_id, holder=body.holder
        )
    return build_data_response(order)


@runner_endpoint(
    "research-orders/unknown", Refusal, "Say that an order may or may not be accepted", endpoints=ORDER_ENDPOINTS
)
async def record_doubt(call: RunnerCall[Refusal]) -> Response:
    """Record that nobody can say whether an order was accepted."""
    body = call.body
    async with call.context.connection() as connection:
        order = await orders.record_unknown_outcome(
            connection, str(body.order_id), body.message, call.org_id, holder=body.holder
        )
    return build_data_response(order)


@runner_endpoint("research-orders/ended", Ending, "Say how an order ended at the provider", endpoints=ORDER_ENDPOINTS)
async def record_end(call: RunnerCall[Ending]) -> Response:
    """Record the answer of an order, or that there will be none."""
    body = call.body
    if body.status not in (OrderStatus.COMPLETED, OrderStatus.FAILED):
        raise InvalidBody("`status` is no end of an order: `completed` or `failed`", field="status")
    if (body.status is OrderStatus.COMPLETED) != (body.answer is not UNSET):
        raise InvalidBody("a completed order has an `answer`, a failed one has none", field="answer")
    async with call.context.connection() as connection:
        order = await orders.record_end(
            connection,
            str(body.order_id),
            body.status,
            call.org_id,
            answer=None if body.answer is UNSET else RawJson(body.answer),
            code=body.code,
            message=body.message,
        )
    return build_data_response(order, {"replaced": call.replaced})


@runner_endpoint(
    "research-orders/release", Release, "Let another step ask for the answer of an order", endpoints=ORDER_ENDPOINTS
)
async def release_order(call: RunnerCall[Release]) -> Response:
    """Give the lease of an order back."""
    async with call.context.connection() as connection:
        order = await orders.release_order(connection, str(call.body.order_id), call.body.holder, call.org_id)
    return build_data_response(order)


@runner_endpoint(
    "research-orders/collectable",
    Collecting,
    "List orders whose answer is in no step result yet",
    {"type": "array", "items": {"type": "object"}},
    endpoints=ORDER_ENDPOINTS,
)
async def find_collectable_orders(call: RunnerCall[Collecting]) -> Response:
    """List orders that are open, or whose answer the step that bought it does not have."""
    body = call.body
    wanted = collection.CollectableFilter(
        org_id=call.org_id,
        order_id=str(body.order_id) if body.order_id else None,
        held_too=body.held_too,
        after_time=body.after_time.isoformat() if body.after_time else None,
        after_id=str(body.after_id) if body.after_id else None,
        limit=int(body.limit),
    )
    async with call.context.connection() as connection:
        found = await collection.find_collectable_orders(connection, wanted)
    return build_list_response([text.encode() for text in found], {})


@runner_endpoint(
    "research-orders/settle",
    Settling,
    "Give the answer of an order to the step that bought it",
    endpoints=ORDER_ENDPOINTS,
)
async def settle_order(call: RunnerCall[Settling]) -> Response:
    """Write the answer into the step that bought it and the rows that follow; answer what was written."""
    body = call.body
    settlement = collection.Settlement(
        order_id=str(body.order_id),
        status=body.status,
        output_payload=RawJson(body.output_payload),
        message=body.error_message,
        details=None if body.error_details is UNSET else RawJson(body.error_details),
    )
    async with call.context.connection() as connection:
        run_id = await collection.settle_order(connection, settlement, call.org_id)
    report = {} if run_id is None else await repair_run_rows(call.context, run_id)
    return build_data_response(msgspec.json.encode({"pipeline_run_id": run_id, **report}))
