"""Record an order before research is requested from the provider, and record its outcome afterwards.

Two steps with the same question never order twice: `place_order` takes an advisory lock on (organisation, question),
looks for an order that is unfinished or fresh, and makes a new one only if there is none. The step that holds the
order's lease talks to the provider; other steps wait and call `place_order` again.

Functions that take the id of a record raise RecordNotFound when there is none, and ForeignRecord when it belongs to
another organisation than the caller named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from engine.orders.budgets import check_budgets
from engine.orders.errors import BudgetExceeded, OrderConflict, ProviderRunIdTaken
from engine.orders.prices import Prices, find_price
from engine.orders.queries import QUERIES
from engine.orders.statuses import RUN_UNKNOWN, Action, OrderStatus
from engine.runs.errors import ForeignRecord, LostLease, RecordNotFound
from engine.store.connection import Connection, RawJson, fetch_row
from engine.store.errors import StoreRefused, wrap_errors

_UNIQUE_VIOLATION = "23505"
_LOST_REQUEST = (
    "research was requested and the answer was lost, so it may have been bought and is not ordered again; "
    "at the provider it carries `order_id` `{order_id}`"
)
_RESOLVE_HINT = (
    "look for it at the provider, then `dex orders resolve {order_id} --accepted RUN_ID` or `--not-accepted`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """A step's request for research. `holder` is a unique name of this attempt to ask the provider."""

    step_result_id: str
    lease_token: str | None
    operation: str
    provider: str
    processor: str
    question: str  # the digest of the question
    output: RawJson | None  # the keys of the operation's output other than the answer
    holder: str
    hold_seconds: int  # the length of the lease that `holder` gets
    fresh_for: float | None  # seconds for which an answer is reused; None: share only unfinished orders
    refresh: bool  # share only an order that was requested after the submission was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a step must do next about its order; `order` and `answer` are JSON text."""

    action: Action
    order: str | None = None
    answer: str | None = None
    code: str | None = None  # with STOP
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A locked row of `research_orders`; `listed` is the order as JSON text, which callers get."""

    id: str
    org_id: str
    status: OrderStatus
    question: str
    provider: str
    provider_run_id: str | None
    held_by: str | None
    is_held: bool | None
    step_result_id: str | None
    requested_at: datetime
    error_code: str | None
    error_message: str | None
    listed: str


async def place_order(connection: Connection, request: OrderRequest, prices: Prices, org_id: str | None) -> Placement:
    """Attach a step to the order for its question, making one if needed; return what the step must do next.

    Everything happens in one transaction. A step that has to wait calls this again until there is an answer. Raises
    LostLease when the caller no longer holds the run's lease.
    """
    async with wrap_errors(), connection.transaction():
        step = await _lock_asking_step(connection, request, org_id)
        keys = {"org_id": step["org_id"], "question": request.question, "holder": request.holder}
        await connection.execute(QUERIES["lock_question"], keys)
        attached = await _read_order(connection, step["order_id"]) if step["order_id"] else None
        if attached and attached.status is not OrderStatus.NOT_ACCEPTED:
            return await _continue_order(connection, attached, request, step)
        return await _join_or_make_order(connection, request, step, prices, keys)


async def record_acceptance(
    connection: Connection, order_id: str, provider_run_id: str, org_id: str | None, *, is_resolved: bool = False
) -> str:
    """Record that the provider accepted an order; return the order as JSON text. A second call changes nothing.

    With `is_resolved` a person reports the acceptance; that is allowed only while the order is in doubt, else it raises
    OrderConflict. Raises OrderConflict also when another order has this run id, and
    ProviderRunIdTaken when the order has another.
    """
    async with wrap_errors(), connection.transaction():
        order = await require_order(connection, order_id, org_id)
        if is_resolved:
            _check_unresolved(order)
        elif order.provider_run_id not in (None, provider_run_id):
            raise ProviderRunIdTaken("the order already holds another `provider_run_id`", hint="use that run instead")
        if is_resolved or order.provider_run_id is None:
            await _mark_open(connection, order, provider_run_id)
        return (await require_order(connection, order_id, org_id)).listed


async def record_refusal(
    connection: Connection,
    order_id: str,
    message: str,
    org_id: str | None,
    *,
    holder: str | None,
) -> str:
    """Record that the provider did not accept an order, so nothing was bought; return the order as JSON text.

    `holder` is the attempt that asked the provider; it must still hold the order's lease. If it is None, a person found
    this out at the provider; that is allowed only while the order is in doubt. Raises OrderConflict when another
    request holds the order, or it is not in doubt.
    """
    async with wrap_errors(), connection.transaction():
        order = await require_order(connection, order_id, org_id)
        if holder is None:
            _check_unresolved(order)
        elif order.held_by != holder:
            raise OrderConflict(
                "another request holds the order", hint="only the request that was refused can take its order back"
            )
        await _execute_query(connection, "mark_not_accepted", order, message=message)
        return (await require_order(connection, order_id, org_id)).listed


async def record_unknown_outcome(
    connection: Connection, order_id: str, message: str, org_id: str | None, *, holder: str
) -> str:
    """Record that nobody knows whether the provider has an order; return the order as JSON text.

    A requested order becomes unknown; `holder` is the attempt that asked the provider. An open order stays open, with a
    note that lets a person resolve it: the provider accepted it, but does not know its run. The key of another account
    does that as well, and with the right key the answer can still be collected. Raises OrderConflict when another
    request holds a requested order.
    """
    async with wrap_errors(), connection.transaction():
        order = await require_order(connection, order_id, org_id)
        if order.status is OrderStatus.OPEN:
            await _execute_query(connection, "note_unknown_run", order, code=RUN_UNKNOWN, message=message)
        elif order.held_by != holder:
            raise OrderConflict("another request holds the order", hint="read the order again")
        else:
            await _execute_query(connection, "mark_unknown", order, message=message)
        return (await require_order(connection, order_id, org_id)).listed


async def record_end(
    connection: Connection,
    order_id: str,
    status: OrderStatus,
    org_id: str | None,
    *,
    answer: RawJson | None = None,
    code: str | None = None,
    message: str | None = None,
) -> str:
    """Record how an open order ended, and its answer; return the order as JSON text. Later calls change nothing.

    Raises OrderConflict when the provider has not accepted the order, or nobody knows whether it did.
    """
    async with wrap_errors(), connection.transaction():
        order = await require_order(connection, order_id, org_id)
        if order.status not in (OrderStatus.OPEN, OrderStatus.COMPLETED, OrderStatus.FAILED):
            raise OrderConflict(f"the order is `{order.status}`, not open", hint="resolve it first")
        await _execute_query(connection, "end_order", order, status=status, answer=answer, code=code, message=message)
        return (await require_order(connection, order_id, org_id)).listed


async def release_order(connection: Connection, order_id: str, holder: str, org_id: str | None) -> str:
    """Give up the lease of an order, so that another step may poll at once; return the order as JSON text."""
    async with wrap_errors(), connection.transaction():
        order = await require_order(connection, order_id, org_id)
        await _execute_query(connection, "release_order", order, holder=holder)
        return order.listed


async def _lock_asking_step(connection: Connection, request: OrderRequest, org_id: str | None) -> dict[str, Any]:
    """Lock the step that asks for research, if its run may still order; return its columns.

    Raises LostLease when the caller no longer holds the run's lease.
    """
    parameters = {"step_result_id": request.step_result_id, "lease_token": request.lease_token}
    step = await _fetch_dict(connection, "read_asking_step", parameters)
    if step is None:
        raise RecordNotFound("Step result not found", hint="check the id, and that it is of this database")
    if org_id is not None and step["org_id"] != org_id:
        raise ForeignRecord("Step result belongs to another organisation")
    if step["run_status"] == "canceled":
        raise LostLease("the run was canceled: it orders nothing more", hint="`retry` queues it again")
    if not step["holds_lease"]:
        raise LostLease("another runner holds this run", hint="stop working on it: what is recorded stays recorded")
    return step


async def _join_or_make_order(
    connection: Connection, request: OrderRequest, step: Mapping[str, Any], prices: Prices, keys: Mapping[str, Any]
) -> Placement:
    """Attach the step to an unfinished or fresh order for the same question; make a new order if there is none."""
    not_before = step["submitted_at"] if request.refresh else None
    unfinished = await fetch_row(connection, QUERIES["find_unfinished"], keys)
    if unfinished:
        order = await require_order(connection, unfinished[0], None)
        # It may have ended since it was found: with an older answer, or without having been bought.
        is_new_enough = not_before is None or order.requested_at >= not_before
        is_wanted = is_new_enough and order.status is not OrderStatus.NOT_ACCEPTED
        if is_wanted:
            await _attach_step(connection, step, order.id)
        if is_wanted or order.status.is_unfinished:
            return await _continue_order(connection, order, request, step)
    if request.fresh_for is not None:
        parameters = {**keys, "fresh_for": request.fresh_for, "not_before": not_before}
        fresh = await fetch_row(connection, QUERIES["find_fresh"], parameters)
        if fresh:
            await _attach_step(connection, step, fresh[0])
            return await _continue_order(connection, await require_order(connection, fresh[0], None), request, step)
    (was_refused,) = await fetch_row(connection, QUERIES["was_refused"], keys)
    if was_refused:
        return Placement(action=Action.STOP, code="not_bought", message="the provider refused this request")
    return await _make_order(connection, request, step, prices)


async def _make_order(
    connection: Connection, request: OrderRequest, step: Mapping[str, Any], prices: Prices
) -> Placement:
    price = find_price(prices, request.provider, request.processor)
    try:
        await check_budgets(connection, step["org_id"], request.operation, request.processor, price)
    except BudgetExceeded as error:
        return Placement(action=Action.STOP, code="budget_exceeded", message=f"{error.message}; {error.hint}")
    parameters = {
        **step,
        "operation": request.operation,
        "provider": request.provider,
        "processor": request.processor,
        "question": request.question,
        "price": price,
        "output": request.output,
        "holder": request.holder,
        "hold_seconds": request.hold_seconds,
    }
    (order_id,) = await fetch_row(connection, QUERIES["insert_order"], parameters)
    await _attach_step(connection, step, order_id)
    order = await require_order(connection, order_id, None)
    return Placement(action=Action.BUY, order=order.listed)


async def _continue_order(
    connection: Connection, order: Order, request: OrderRequest, step: Mapping[str, Any]
) -> Placement:
    """Return what a step must do about an existing order; take the order's lease if nobody holds it."""
    if order.status is OrderStatus.COMPLETED:
        (answer,) = await fetch_row(connection, QUERIES["read_answer"], {"org_id": order.org_id, "order_id": order.id})
        if answer is not None:
            return Placement(action=Action.TAKE, order=order.listed, answer=answer)
        if not await fetch_row(connection, QUERIES["reopen_order"], {"org_id": order.org_id, "order_id": order.id}):
            return Placement(action=Action.WAIT, order=order.listed)
    elif order.status is OrderStatus.REQUESTED and order.held_by == request.holder:
        await connection.execute(QUERIES["hold_order"], _build_keys(order, request))
        return Placement(action=Action.BUY, order=order.listed)
    elif order.status is OrderStatus.REQUESTED and order.is_held:
        return Placement(action=Action.WAIT, order=order.listed)
    elif order.status in (OrderStatus.REQUESTED, OrderStatus.UNKNOWN):
        await _execute_query(connection, "mark_unknown", order, message=_LOST_REQUEST.format(order_id=order.id))
        return await _build_stop(connection, order)
    elif order.status is OrderStatus.FAILED:
        return await _build_stop(connection, order)
    await connection.execute(QUERIES["touch_run"], {"pipeline_run_id": step["pipeline_run_id"]})
    held = await fetch_row(connection, QUERIES["hold_order"], _build_keys(order, request))
    fresh = await require_order(connection, order.id, None)
    return Placement(action=Action.POLL if held else Action.WAIT, order=fresh.listed)


async def _build_stop(connection: Connection, order: Order) -> Placement:
    ended = await require_order(connection, order.id, None)
    message = ended.error_message or f"the order is `{ended.status}`"
    if ended.status is OrderStatus.UNKNOWN:
        message = f"{message}; {_RESOLVE_HINT.format(order_id=order.id)}"
    return Placement(
        action=Action.STOP, order=ended.listed, code=ended.error_code or f"order_{ended.status}", message=message
    )


async def _mark_open(connection: Connection, order: Order, provider_run_id: str) -> None:
    try:
        async with wrap_errors(), connection.transaction():
            await _execute_query(connection, "mark_open", order, provider_run_id=provider_run_id)
    except StoreRefused as error:
        if error.sqlstate != _UNIQUE_VIOLATION:
            raise
        raise OrderConflict(
            f"`{provider_run_id}` belongs to another order, or the question has a newer one",
            hint="`dex orders` lists the orders",
        ) from error


def _check_unresolved(order: Order) -> None:
    """Raise OrderConflict unless nobody knows whether the provider accepted the order, or has its run."""
    if order.status is OrderStatus.REQUESTED and order.is_held:
        raise OrderConflict("the order is being requested at this moment", hint="wait until it is `unknown`")
    is_run_unknown = order.status is OrderStatus.OPEN and order.error_code == RUN_UNKNOWN
    if is_run_unknown and order.is_held:
        raise OrderConflict("the provider is being asked for the answer at this moment", hint="wait for what it says")
    if not is_run_unknown and order.status not in (OrderStatus.REQUESTED, OrderStatus.UNKNOWN):
        raise OrderConflict(f"the order is `{order.status}`: there is nothing to resolve", hint="see `dex orders`")


def _build_keys(order: Order, request: OrderRequest) -> dict[str, Any]:
    return {
        "org_id": order.org_id,
        "order_id": order.id,
        "holder": request.holder,
        "hold_seconds": request.hold_seconds,
        "step_result_id": request.step_result_id,
    }


async def _attach_step(connection: Connection, step: Mapping[str, Any], order_id: str) -> None:
    await connection.execute(QUERIES["attach_step"], {"order_id": order_id, "step_result_id": step["step_result_id"]})


async def require_order(connection: Connection, order_id: str, org_id: str | None) -> Order:
    """Return an order, locked."""
    order = await _read_order(connection, order_id)
    if order is None:
        raise RecordNotFound("Order not found", hint="`dex orders` lists the orders")
    if org_id is not None and order.org_id != org_id:
        raise ForeignRecord("Order belongs to another organisation")
    return order


async def _read_order(connection: Connection, order_id: str) -> Order | None:
    row = await _fetch_dict(connection, "read_order", {"order_id": order_id})
    return Order(**{**row, "status": OrderStatus(row["status"])}) if row else None


async def _execute_query(connection: Connection, query: str, order: Order, **parameters: Any) -> None:
    keys = {"org_id": order.org_id, "order_id": order.id}
    await connection.execute(QUERIES[query], {**keys, **parameters})


async def _fetch_dict(connection: Connection, query: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[query], parameters)
        return await cursor.fetchone()
