"""The endpoints by which the runner places orders of research and reports their results."""

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


class NewOrder(Body, frozen=True):
    """A step's request for the answer to a question."""

    step_result_id: UUID
    operation: Name
    provider: Name
    processor: Name
    question: Digest
    holder: Annotated[Name, Meta(description="A name of this attempt, different for each attempt.")]
    hold_seconds: Seconds = 60
    refresh: bool = False
    output: dict[str, Raw] | None = None
    lease_token: UUID | None = None


class Acceptance(Body, frozen=True):
    """The provider accepted an order, under a run id."""

    order_id: UUID
    provider_run_id: Name


class Refusal(Body, frozen=True):
    """The provider certainly did not accept an order, or (other endpoint) it is unknown whether it did."""

    order_id: UUID
    holder: Name
    message: Text


class OrderEnd(Body, frozen=True):
    """An order has ended at the provider: its answer, or its error."""

    order_id: UUID
    status: OrderStatus
    answer: Raw | UnsetType = UNSET
    code: Name | None = None
    message: Text | None = None


class Release(Body, frozen=True):
    """Release the lease of an order, so that another step may ask the provider for its answer."""

    order_id: UUID
    holder: Name


class CollectablePage(Body, frozen=True):
    """A page of orders whose answers are to be collected, oldest first."""

    order_id: UUID | None = None
    held_too: bool = False
    after_time: Time | None = None
    after_id: UUID | None = None
    limit: PageSize = 50


class OrderResult(Body, frozen=True):
    """The result of an order, to be stored in the step that bought it."""

    order_id: UUID
    status: StepStatus
    output_payload: Raw
    error_message: Text | None = None
    error_details: Raw | UnsetType = UNSET


@runner_endpoint("research-orders/place", NewOrder, "Get or create the order of a question", endpoints=ORDER_ENDPOINTS)
async def place_order(call: RunnerCall[NewOrder]) -> Response:
    """Attach a step to the order of its question, created if there is none; answer what the runner has to do next."""
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
    """Encode a placement as JSON; the texts of the order and its answer are inserted unchanged."""
    fields: dict[str, Any] = {"action": placement.action, "code": placement.code, "message": placement.message}
    fields["order"] = None if placement.order is None else Raw(placement.order.encode())
    if placement.answer is not None:
        fields["answer"] = Raw(placement.answer.encode())
    return msgspec.json.encode(fields)


@runner_endpoint(
    "research-orders/accepted", Acceptance, "Record that the provider accepted an order", endpoints=ORDER_ENDPOINTS
)
async def record_acceptance(call: RunnerCall[Acceptance]) -> Response:
    """Record that the provider accepted an order, and under which run id; answer the order."""
    async with call.context.connection() as connection:
        order = await orders.record_acceptance(
            connection, str(call.body.order_id), call.body.provider_run_id, call.org_id
        )
    return build_data_response(order)


@runner_endpoint(
    "research-orders/not-accepted",
    Refusal,
    "Record that the provider did not accept an order",
    endpoints=ORDER_ENDPOINTS,
)
async def record_refusal(call: RunnerCall[Refusal]) -> Response:
    """Record that the provider certainly did not accept an order; answer the order."""
    body = call.body
    async with call.context.connection() as connection:
        order = await orders.record_refusal(
            connection, str(body.order_id), body.message, call.org_id, holder=body.holder
        )
    return build_data_response(order)


@runner_endpoint(
    "research-orders/unknown",
    Refusal,
    "Record that it is unknown whether an order was accepted",
    endpoints=ORDER_ENDPOINTS,
)
async def record_doubt(call: RunnerCall[Refusal]) -> Response:
    """Record that it is unknown whether the provider accepted an order; answer the order."""
    body = call.body
    async with call.context.connection() as connection:
        order = await orders.record_unknown_outcome(
            connection, str(body.order_id), body.message, call.org_id, holder=body.holder
        )
    return build_data_response(order)


@runner_endpoint(
    "research-orders/ended", OrderEnd, "Record the answer or the error of an order", endpoints=ORDER_ENDPOINTS
)
async def record_end(call: RunnerCall[OrderEnd]) -> Response:
    """Record the answer of a completed order, or the error of a failed one; answer the order."""
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


@runner_endpoint("research-orders/release", Release, "Release the lease of an order", endpoints=ORDER_ENDPOINTS)
async def release_order(call: RunnerCall[Release]) -> Response:
    """Release the lease of an order, so that another step may ask for its answer; answer the order."""
    async with call.context.connection() as connection:
        order = await orders.release_order(connection, str(call.body.order_id), call.body.holder, call.org_id)
    return build_data_response(order)


@runner_endpoint(
    "research-orders/collectable",
    CollectablePage,
    "List orders whose answer is in no step result yet",
    {"type": "array", "items": {"type": "object"}},
    endpoints=ORDER_ENDPOINTS,
)
async def find_collectable_orders(call: RunnerCall[CollectablePage]) -> Response:
    """Answer orders that are open, or completed without their answer in the step that bought it."""
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
    OrderResult,
    "Store the result of an order in the step that bought it",
    endpoints=ORDER_ENDPOINTS,
)
async def settle_order(call: RunnerCall[OrderResult]) -> Response:
    """Store the result of an order in the step that bought it, and write its rows; answer a report of both."""
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
