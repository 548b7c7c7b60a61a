"""Check and set budgets: what an organisation may spend in a calendar month (UTC).

The rows of the budgets are locked in a fixed order before the month's orders are summed, so that concurrent orders
cannot exceed a budget together. The amount spent is always summed from the orders, so it cannot drift as a counter
could.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from engine.orders.errors import BudgetExceeded
from engine.orders.prices import format_usd
from engine.orders.queries import QUERIES
from engine.store.connection import Connection, fetch_rows, fetch_value
from engine.store.errors import FOREIGN_KEY_VIOLATION, StoreRefused, UnknownOrganisation, wrap_errors

#: Stands in place of an operation's id in a budget for all operations together.
ALL_OPERATIONS: Final = ""


async def check_budgets(
    connection: Connection, org_id: str, operation: str, processor: str, price: Decimal | None
) -> None:
    """Raise BudgetExceeded when an order of `price` exceeds what is left of the organisation's budgets for this month.

    Call it in the transaction that makes the order: the budgets stay locked until its end.
    """
    parameters = {"org_id": org_id, "operation": operation}
    for budget_operation, usd in await fetch_rows(connection, QUERIES["lock_budgets"], parameters):
        scope = f"of `{budget_operation}` " if budget_operation else ""
        if price is None:
            raise BudgetExceeded(
                f"`{processor}` has no price, so the budget {scope}of {format_usd(usd)} USD cannot be checked",
                hint="nothing was bought; add its price to the prices",
            )
        spent = await fetch_value(connection, QUERIES["sum_month"], {"org_id": org_id, "operation": budget_operation})
        if spent + price > usd:
            raise BudgetExceeded(
                f"the budget {scope}of {format_usd(usd)} USD for this month has {format_usd(usd - spent)} USD left,"
                f" and `{processor}` costs {format_usd(price)} USD",
                hint="nothing was bought; retry the run when the budget allows",
            )


async def set_budget(connection: Connection, org_id: str, usd: Decimal | None, operation: str = ALL_OPERATIONS) -> None:
    """Set what an organisation may spend in a month; None removes the limit.

    Raises UnknownOrganisation when it does not exist, StoreUnavailable.
    """
    parameters: dict[str, Any] = {"org_id": org_id, "operation": operation, "usd": usd}
    query = "remove_budget" if usd is None else "set_budget"
    try:
        async with wrap_errors():
            await connection.execute(QUERIES[query], parameters)
    except StoreRefused as error:
        if error.sqlstate == FOREIGN_KEY_VIOLATION:
            raise UnknownOrganisation(org_id) from error
        raise


async def list_budgets(connection: Connection, org_id: str | None) -> list[str]:
    """Return each budget as JSON text, with the amount that is spent or reserved this month."""
    async with wrap_errors():
        return [text for (text,) in await fetch_rows(connection, QUERIES["list_budgets"], {"org_id": org_id})]


async def count_unbounded_organisations(connection: Connection) -> int:
    """Return how many organisations have no budget for all operations, so that nothing limits their spending."""
    async with wrap_errors():
        return int(await fetch_value(connection, QUERIES["count_organisations_without_budget"]))
