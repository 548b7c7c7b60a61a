"""Run statements as one organisation, restricted by row level security.

Role and organisation are set only for the transaction: with a pooler, settings of the session would apply to the next
client too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncCursor

from engine.sql.identifiers import Statement
from engine.sql.tenant import TENANT_ROLE
from engine.store.connection import Connection, StoreConnection, format_milliseconds
from engine.store.round_trip import TextRow, send_bounded_statements, send_statements

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
        for sql, parameters in _list_bounds(connection):
            await connection.execute(sql, parameters)
        await connection.execute(_ENTER_TENANT, {"role": TENANT_ROLE, "org_id": org_id})
        async with connection.cursor() as cursor:
            yield cursor


@asynccontextmanager
async def open_tenant_snapshot(connection: Connection, org_id: str) -> AsyncIterator[None]:
    """Open a read-only transaction as the tenant `org_id`, in which all statements see the same snapshot."""
    async with connection.transaction():
        await connection.execute(_SET_SNAPSHOT)
        for sql, parameters in (*_list_bounds(connection), build_settings(org_id)):
            await connection.execute(sql, parameters)
        yield


async def run_as_tenant(
    connection: Connection, org_id: str | None, sql: str, parameter_sets: Sequence[Mapping[str, Any]]
) -> list[list[TextRow]]:
    """Run `sql` once per set of parameters as the tenant `org_id`, all or none, in one round trip.

    Returns the rows of each run, like `run_calls_as_tenant`.
    """
    return await run_calls_as_tenant(connection, org_id, [(sql, parameters) for parameters in parameter_sets])


async def run_calls_as_tenant(
    connection: Connection, org_id: str | None, calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[list[TextRow]]:
    """Run statements with their parameters as the tenant `org_id`, all or none, in one round trip.

    If it is None (for operators), they run as the connected user, whom row level security may not restrict. Returns the
    rows of each statement in Postgres's text format.
    """
    before = [*_list_bounds(connection), build_settings(org_id)]
    results = await send_statements(connection, [*before, *calls])
    return results[len(before) :]


async def read_as_tenant(
    connection: Connection, org_id: str | None, statements: Sequence[Statement], max_bytes: int | None = None
) -> tuple[list[list[TextRow]], bool]:
    """Run read-only statements as the tenant `org_id`, in one transaction and one round trip.

    Returns the rows of each, and whether those of the last one were cut off at `max_bytes`.
    """
    before = [*_list_bounds(connection), build_settings(org_id)]
    calls = [*before, *((statement.text, statement.parameters) for statement in statements)]
    results, cut = await send_bounded_statements(connection, calls, max_bytes)
    return results[len(before) :], cut


def build_settings(org_id: str | None) -> tuple[str, Mapping[str, Any]]:
    """Return the statement, with its parameters, that restricts a transaction to the organisation."""
    return (_SET_UTC, {}) if org_id is None else (_ENTER_TENANT, {"role": TENANT_ROLE, "org_id": org_id})


def _list_bounds(connection: Connection) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the statement that sets the transaction's timeouts behind a pooler; else none, as the session has them."""
    bounds = connection.transaction_bounds if isinstance(connection, StoreConnection) else None
    if bounds is None:
        return []
    parameters = {"statement": format_milliseconds(bounds.statement), "lock": format_milliseconds(bounds.lock)}
    return [(_SET_BOUNDS, parameters)]
