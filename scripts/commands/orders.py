"""The commands about orders of research and their costs: orders (list, collect, resolve), costs, org budget."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import EngineError
from engine.orders.statuses import RUN_UNKNOWN, OrderStatus
from engine.plans import load_plans
from engine.project import Project, find_project
from engine.rows import render
from scripts import terminal
from scripts.commands.options import AsJson, Command, Group, read_optional_uuid, read_uuid
from scripts.commands.server import build_node_command
from scripts.database_url import open_database, run_in_database
from scripts.processes import build_dex_command, start_process

if TYPE_CHECKING:
    from engine.store.connection import Connection

_COLUMNS = ("id", "operation", "processor", "status", "price", "cost", "requested_at", "provider_run_id")
_MAX_USD = 1_000_000_000
_COLLECT_SCRIPT = "src/local-runner/collect-main.ts"

Org = Annotated[str | None, typer.Option("--org", help="Only this organisation.")]


class CollectFailed(EngineError):
    """The orders could not be collected."""


def list_orders(
    context: typer.Context,
    org: Org = None,
    status: Annotated[OrderStatus | None, typer.Option(help="Only orders with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most orders to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List, collect and resolve orders of research."""
    if context.invoked_subcommand is not None:
        return
    from engine.orders import listing

    wanted = listing.OrderFilter(org_id=read_optional_uuid(org, "--org"), status=status, limit=limit)
    orders = run_in_database(lambda connection: listing.list_orders(connection, wanted), wanted.org_id)
    terminal.print_cut(len(orders), limit, "orders")
    if as_json:
        terminal.print_json([render.embed_json(order) for order in orders])
        return
    rows = [json.loads(order) for order in orders]
    terminal.print_rows(_COLUMNS, rows)
    for row in rows:
        hint = f"dex orders resolve {row['id']} --accepted RUN_ID, or --not-accepted"
        if row["status"] == OrderStatus.OPEN and row["error_code"] == RUN_UNKNOWN:
            hint = f"dex orders collect with the key of the account it was bought with; otherwise {hint}"
        elif row["status"] != OrderStatus.UNKNOWN:
            continue
        terminal.print_note(f"{row['id']}: {_explain_doubt(row)}")
        terminal.print_note(f"    hint: {hint}")


def _explain_doubt(order: Mapping[str, str | None]) -> str:
    """Return why an order has to be resolved."""
    if order["error_code"] is None:  # migration 045 made it of a step that asked and never learned more
        return "it was placed before orders were kept, and no run id of the provider was recorded"
    return order["error_message"] or f"{order['error_code']}; its message was erased"


def collect_orders(
    order: Annotated[str | None, typer.Argument(help="The order's id. Default: all.", metavar="[ID]")] = None,
    org: Org = None,
    as_json: AsJson = False,
) -> None:
    """Collect the answers of open orders from the provider.

    Each answer is stored in the step that placed the order, and its rows are written. It needs PARALLEL_API_KEY, and
    starts an API of its own unless DATA_ENGINE_API_URL is set. Exit status 1 if the provider could not be reached for
    an order, or does not know it: see `dex orders`.
    """
    arguments = [] if order is None else ["--order", read_uuid(order, "ID")]
    arguments += [] if org is None else ["--org", read_uuid(org, "--org")]
    tally = run_collection(find_project(), *arguments)
    if order is not None and not any(tally.values()):
        terminal.print_note("there is nothing to collect for this order: `dex orders` shows its status")
    if as_json:
        terminal.print_json(tally)
    else:
        terminal.print_line(", ".join(f"{count} {name}" for name, count in tally.items()))
    if tally["unreachable"]:
        raise typer.Exit(1)


def run_collection(here: Project, *arguments: str) -> dict[str, int]:
    """Run the runner's program that collects open orders; return its counts. Raises CollectFailed if it fails."""
    command = build_node_command(here, _COLLECT_SCRIPT, *arguments)
    with _provide_api(here) as environment:
        done = subprocess.run(
            command, cwd=here.root, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
        )
    try:
        tally: dict[str, int] = json.loads(done.stdout)
    except ValueError as error:
        raise CollectFailed("the orders could not be collected", hint="the lines above say why") from error
    return tally


def collect_open_orders(here: Project, dsn: str) -> None:
    """Collect open orders, if there are any and PARALLEL_API_KEY is set; print errors instead of raising them.

    Orders that cannot be collected stay open, and the next call tries again.
    """

    async def has_open_orders() -> bool:
        from engine.orders.collection import CollectableFilter, find_collectable_orders
        from engine.store.connection import connect

        async with await connect(dsn) as connection:
            return bool(await find_collectable_orders(connection, CollectableFilter(limit=1)))

    try:
        if not asyncio.run(has_open_orders()):
            return
        if not os.environ.get("PARALLEL_API_KEY", "").strip():
            terminal.print_note("there are open orders; with PARALLEL_API_KEY their answers would be collected")
            return
        tally = run_collection(here)
        terminal.print_note("orders collected: " + ", ".join(f"{count} {name}" for name, count in tally.items()))
    except (EngineError, typer.BadParameter) as error:
        terminal.print_note(f"open orders were not collected: {error}")


@contextmanager
def _provide_api(here: Project) -> Iterator[dict[str, str]]:
    """Yield environment variables for the runner: none if DATA_ENGINE_API_URL is set, else those of a new API.

    The new API runs during the `with` block.
    """
    if os.environ.get("DATA_ENGINE_API_URL", "").strip():
        yield {}
        return
    key = secrets.token_urlsafe(32)
    settings = {"INTERNAL_API_KEY": key, "JWT_SECRET": secrets.token_urlsafe(32), "TRIGGER_SECRET_KEY": ""}
    with (
        open_database(here) as dsn,
        start_process(
            build_dex_command("serve", "--port", "0"), {**settings, "DATABASE_URL": dsn}, cwd=here.root
        ) as api,
    ):
        url = api.wait_for_line("serving on ").rsplit(" ", 1)[-1]
        yield {"DATA_ENGINE_API_URL": url, "DATA_ENGINE_INTERNAL_API_KEY": key}


def resolve_order(
    order: Annotated[str, typer.Argument(help="The order's id.", metavar="ID")],
    accepted: Annotated[str | None, typer.Option(help="The run id under which the provider has it.")] = None,
    not_accepted: Annotated[bool, typer.Option("--not-accepted", help="The provider does not have it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record whether the provider accepted an order.

    For orders whose status is `unknown`, and open ones whose run the provider does not know. `dex orders` prints what
    to search for at the provider.
    """
    if (accepted is None) != not_accepted:
        raise typer.BadParameter("say either `--accepted RUN_ID` or `--not-accepted`")
    if accepted is not None and not (accepted := accepted.strip()):
        raise typer.BadParameter("--accepted: the run id is blank")
    order_id = read_uuid(order, "ID")

    async def record_resolution(connection: Connection) -> str:
        from engine.orders import orders

        if accepted is not None:
            return await orders.record_acceptance(connection, order_id, accepted, None, is_resolved=True)
        message = "resolved by a person: the provider does not have it"
        return await orders.record_refusal(connection, order_id, message, None, holder=None)

    resolved = run_in_database(record_resolution)
    if as_json:
        terminal.print_json(render.embed_json(resolved))
        return
    status = json.loads(resolved)["status"]
    terminal.print_line(f"{order_id}: {status}")
    terminal.print_note("`dex orders collect` takes its answer" if accepted else "`dex runs retry` orders it again")


def show_costs(
    org: Org = None,
    month: Annotated[str | None, typer.Option(help="Only this month (UTC), such as 2026-11.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum costs by organisation, operation and month."""
    from engine.orders.listing import MONTH, sum_costs

    org_id = read_optional_uuid(org, "--org")
    if month is not None and not re.fullmatch(MONTH, month):
        raise typer.BadParameter(f"--month: `{month}` is no month such as 2026-11")
    costs = run_in_database(lambda connection: sum_costs(connection, org_id, month=month), org_id)
    if as_json:
        terminal.print_json([render.embed_json(cost) for cost in costs])
        return
    terminal.print_rows(("org_id", "operation", "month", "orders", "cost"), [json.loads(cost) for cost in costs])


def set_budget(
    org: Annotated[str, typer.Argument(help="The organisation.", metavar="ORG")],
    usd: Annotated[str | None, typer.Option(help="USD per calendar month (UTC); `none` for no limit.")] = None,
    operation: Annotated[str, typer.Option(help="Only for this operation.")] = "",
    as_json: AsJson = False,
) -> None:
    """Set or show the monthly budget of an organisation."""
    org_id = read_uuid(org, "ORG")
    if operation and usd not in (None, "none"):
        _check_operation(operation)
    amount = None if usd is None or usd == "none" else _read_usd(usd)

    async def change_budget(connection: Connection) -> list[str]:
        from engine.orders import budgets

        if usd is not None:
            await budgets.set_budget(connection, org_id, amount, operation)
        return await budgets.list_budgets(connection, org_id)

    listed = [json.loads(text) for text in run_in_database(change_budget)]
    if as_json:
        terminal.print_json({"org_id": org_id, "budgets": listed})
        return
    for budget in listed:
        scope = budget["operation"] or "all operations"
        terminal.print_line(f"{scope}: {budget['usd']} USD a month, {budget['spent']} spent or reserved")
    if not any(budget["operation"] is None for budget in listed):
        terminal.print_note("no budget over all operations: spending has no bound")


def _check_operation(operation: str) -> None:
    """Raise BadParameter for an operation that no spec executes, since its budget would limit nothing."""
    from engine.orders.steps import StepRequest, check_steps
    from engine.runs.errors import UnknownOperation

    try:
        check_steps(load_plans(find_project()), [StepRequest(operation, {})])
    except UnknownOperation as error:
        raise typer.BadParameter(f"--operation: no spec executes `{operation}`; {error.hint}") from error


def _read_usd(text: str) -> Decimal:
    """Parse an amount of USD. Raises BadParameter when it is negative, not a number, or beyond any price."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _MAX_USD:
        raise typer.BadParameter(f"--usd: `{text}` is no amount of USD, such as 250 or 0.50")
    return amount


COMMANDS = (Command("costs", show_costs, ("dex costs", "dex costs --org $ORG --month 2026-11 --json")),)

GROUPS = (
    Group(
        "orders",
        list_orders,
        ("dex orders", "dex orders --org $ORG --status unknown --json"),
        (
            Command("collect", collect_orders, ("dex orders collect", "dex orders collect $ORDER")),
            Command(
                "resolve",
                resolve_order,
                ("dex orders resolve $ORDER --accepted trun_0123", "dex orders resolve $ORDER --not-accepted"),
            ),
        ),
    ),
    Group(
        "org",
        None,
        (),
        (
            Command(
                "budget",
                set_budget,
                ("dex org budget $ORG --usd 250", "dex org budget $ORG --usd 50 --operation company.derive.funding"),
            ),
        ),
        summary="Manage organisations.",
    ),
)
