"""The endpoints by which the runner places orders for research and reports their outcomes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter
from msgspec import Raw
from pydantic import Field, StrictBool
from starlette.responses import Response

from api.dependencies import AppContext, NamedOrganisation
from api.http.errors import InvalidBody
from api.http.models import WHOLE_NUMBER, Body, Data, DataWithMeta, Document, Id, Time
from api.http.responses import build_data_response, build_list_response
from api.runs.routes import RUNNER_OPTIONS, Facts, Name, Seconds, Text, repair_run_rows
from engine.orders import collection, orders
from engine.orders.statuses import OrderStatus
from engine.plans import index_research
from engine.runs.statuses import StepStatus
from engine.store.connection import RawJson
from engine.values import exact_json

log = structlog.get_logger("api")

router = APIRouter(prefix="/api/internal/research-orders", **RUNNER_OPTIONS)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the question, in hexadecimal.")]
PageSize = Annotated[int, Field(ge=1, le=1000), WHOLE_NUMBER]


class NewOrder(Body):
    """A step's request for the answer to a question."""

    step_result_id: Id
    operation: Name
    provider: Name
    processor: Name
    question: Digest
    holder: Annotated[Name, Field(description="A name of this attempt, different for each attempt.")]
    hold_seconds: Seconds = 60
    refresh: StrictBool = False
    output: dict[str, Any] | None = None
    lease_token: Id | None = None


class Acceptance(Body):
    """The provider accepted an order, under a run id."""

    order_id: Id
    provider_run_id: Name


class Refusal(Body):
    """The provider did not accept an order; or, at the other endpoint, it is unknown whether it did."""

    order_id: Id
    holder: Name
    message: Text


class OrderEnd(Body):
    """An order has ended at the provider, with an answer or an error."""

    order_id: Id
    status: OrderStatus
    answer: Document = None
    code: Name | None = None
    message: Text | None = None


class Release(Body):
    """Give up the lease of an order, so that another step may ask the provider for its answer."""

    order_id: Id
    holder: Name


class CollectablePage(Body):
    """A page of orders whose answers are to be collected, oldest first."""

    order_id: Id | None = None
    held_too: StrictBool = False
    after_time: Time | None = None
    after_id: Id | None = None
    limit: PageSize = 50


class OrderResult(Body):
    """The result of an order, to be stored in the step that placed it."""

    order_id: Id
    status: StepStatus
    output_payload: Document
    error_message: Text | None = None
    error_details: Document = None


@router.post("/place", summary="Get or create the order of a question", response_model=Data[Facts])
async def place_order(body: NewOrder, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Attach a step to the order for its question, which is created if needed; return what the runner must do next."""
    research = index_research(context.plans).get(body.operation)
    request = orders.OrderRequest(
        step_result_id=body.step_result_id,
        lease_token=body.lease_token,
        operation=body.operation,
        provider=body.provider,
        processor=body.processor,
        question=body.question,
        output=None if body.output is None else RawJson(exact_json.dumps(body.output)),
        holder=body.holder,
        hold_seconds=body.hold_seconds,
        fresh_for=research.fresh_for_seconds if research else None,
        refresh=body.refresh,
    )
    async with context.connection() as connection:
        placement = await orders.place_order(connection, request, context.prices, org_id)
    log.info("order", step_result_id=request.step_result_id, action=placement.action, code=placement.code)
    return build_data_response(_encode_placement(placement))


def _encode_placement(placement: orders.Placement) -> bytes:
    """Encode a placement as JSON; the texts of the order and its answer are inserted unchanged."""
    fields: dict[str, Any] = {"action": placement.action, "code": placement.code, "message": placement.message}
    fields["order"] = None if placement.order is None else Raw(placement.order.encode())
    if placement.answer is not None:
        fields["answer"] = Raw(placement.answer.encode())
    return msgspec.json.encode(fields)


@router.post("/accepted", summary="Record that the provider accepted an order", response_model=Data[Facts])
async def record_acceptance(body: Acceptance, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Record that the provider accepted an order, and under which run id; return the order."""
    async with context.connection() as connection:
        order = await orders.record_acceptance(connection, body.order_id, body.provider_run_id, org_id)
    return build_data_response(order)


@router.post("/not-accepted", summary="Record that the provider did not accept an order", response_model=Data[Facts])
async def record_refusal(body: Refusal, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Record that the provider certainly did not accept an order; return the order."""
    async with context.connection() as connection:
        order = await orders.record_refusal(connection, body.order_id, body.message, org_id, holder=body.holder)
    return build_data_response(order)


@router.post("/unknown", summary="Record that it is unknown whether an order was accepted", response_model=Data[Facts])
async def record_unknown_outcome(body: Refusal, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Record that it is unknown whether the provider accepted an order; return the order."""
    async with context.connection() as connection:
        order = await orders.record_unknown_outcome(connection, body.order_id, body.message, org_id, holder=body.holder)
    return build_data_response(order)


@router.post("/ended", summary="Record the answer or the error of an order", response_model=DataWithMeta[Facts, Facts])
async def record_end(body: OrderEnd, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Record the answer of a completed order, or the error of a failed one; return the order."""
    if body.status not in (OrderStatus.COMPLETED, OrderStatus.FAILED):
        raise InvalidBody("`status` is not `completed` or `failed`", field="status")
    if (body.status is OrderStatus.COMPLETED) != ("answer" in body.model_fields_set):
        raise InvalidBody("a completed order has an `answer`, a failed one has none", field="answer")
    async with context.connection() as connection:
        order = await orders.record_end(
            connection, body.order_id, body.status, org_id, answer=body.answer, code=body.code, message=body.message
        )
    return build_data_response(order, {"replaced": body.replaced})


@router.post("/release", summary="Release the lease of an order", response_model=Data[Facts])
async def release_order(body: Release, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Give up the lease of an order, so that another step may ask for its answer; return the order."""
    async with context.connection() as connection:
        order = await orders.release_order(connection, body.order_id, body.holder, org_id)
    return build_data_response(order)


@router.post(
    "/collectable",
    summary="List orders whose answer is in no step result yet",
    response_model=DataWithMeta[list[Facts], Facts],
)
async def find_collectable_orders(body: CollectablePage, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Return orders that are open, or completed without their answer being stored in the step that placed them."""
    wanted = collection.CollectableFilter(
        org_id=org_id,
        order_id=body.order_id,
        held_too=body.held_too,
        after_time=body.after_time.isoformat() if body.after_time else None,
        after_id=body.after_id,
        limit=body.limit,
    )
    async with context.connection() as connection:
        texts = await collection.find_collectable_orders(connection, wanted)
    return build_list_response([text.encode() for text in texts], {})


@router.post("/settle", summary="Store the result of an order in the step that bought it", response_model=Data[Facts])
async def settle_order(body: OrderResult, context: AppContext, org_id: NamedOrganisation) -> Response:
    """Store the result of an order in the step that placed it, and its run's missing rows; return a report on them."""
    settlement = collection.Settlement(
        order_id=body.order_id,
        status=body.status,
        output_payload=body.output_payload or RawJson(b"null"),
        message=body.error_message,
        details=body.error_details,
    )
    async with context.connection() as connection:
        run_id = await collection.settle_order(connection, settlement, org_id)
    report = {} if run_id is None else await repair_run_rows(context, run_id)
    return build_data_response(msgspec.json.encode({"pipeline_run_id": run_id, **report}))
