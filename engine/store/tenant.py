"""Run statements as one organisation, restricted by row level security.

Role and organisation are set only for the transaction: with a pooler, settings of the session would apply to the next
client too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncCursor

from engine.sql.identifiers import Statement
from engine.sql.tenant import TENANT_ROLE
from engine.store.connection import Connection, StoreConnection, format_milliseconds
from engine.store.round_trip import Call, TextRow, send_bounded_statements, send_statements

_ENTER_TENANT = """
select set_config('role', %(role)s, true), set_config('app.org_id', %(org_id)s, true),
       set_config('timezone', 'UTC', true)
"""
_SET_SNAPSHOT = "set transaction isolation level repeatable read read only"
_SET_UTC = "select set_config('timezone', 'UTC', true)"
_SET_BOUNDS = "select set_config('statement_timeout', %(statement)s, true), set_config('lock_timeout', %(lock)s, true)"


@asynccontextmanager
async def open_tenant_transaction(connection: Connection, org_id: str) -> AsyncIterator[AsyncCursor[Any]]:
    """Open a transaction as the tenant `org_id`; commit it at the end of the block, roll it back on an error.

    `begin`, the settings and the first statement are sent together (pipeline mode), so the settings cost no round trip.
    """
    async with connection.pipeline(), connection.transaction():
        for call in (*_list_bounds(connection), build_settings(org_id)):
            await connection.execute(*call)
        async with connection.cursor() as cursor:
            yield cursor


@asynccontextmanager
async def open_tenant_snapshot(connection: Connection, org_id: str) -> AsyncIterator[None]:
    """Open a read-only transaction as the tenant `org_id`, in which all statements see the same snapshot."""
    async with connection.transaction():
        await connection.execute(_SET_SNAPSHOT)
        for call in (*_list_bounds(connection), build_settings(org_id)):
            await connection.execute(*call)
        yield


async def run_as_tenant(
    connection: Connection, org_id: str | None, statements: Sequence[Statement]
) -> list[list[TextRow]]:
    """Run statements as the tenant `org_id`, all or none, in one round trip; return the rows of each.

    With None (for operators) they run as the connected user, whom row level security may not restrict. The rows are in
    Postgres' text format.
    """
    before = [*_list_bounds(connection), build_settings(org_id)]
    return (await send_statements(connection, [*before, *statements]))[len(before) :]


async def read_as_tenant(
    connection: Connection, org_id: str | None, statements: Sequence[Statement], max_bytes: int | None
) -> tuple[list[list[TextRow]], bool]:
    """Run read-only statements as `run_as_tenant` does, but cut the rows of the last one at `max_bytes`.

    Returns the rows of each, and whether those of the last one were cut.
    """
    before = [*_list_bounds(connection), build_settings(org_id)]
    results, cut = await send_bounded_statements(connection, [*before, *statements], max_bytes)
    return results[len(before) :], cut


def build_settings(org_id: str | None) -> Call:
    """Return the statement, with its parameters, that restricts a transaction to the organisation."""
    return (_SET_UTC, {}) if org_id is None else (_ENTER_TENANT, {"role": TENANT_ROLE, "org_id": org_id})


def _list_bounds(connection: Connection) -> list[Call]:
    """Return the statement that sets the transaction's timeouts behind a pooler; else none, as the session has them."""
    bounds = connection.transaction_bounds if isinstance(connection, StoreConnection) else None
    if bounds is None:
        return []
    parameters = {"statement": format_milliseconds(bounds.statement), "lock": format_milliseconds(bounds.lock)}
    return [(_SET_BOUNDS, parameters)]
