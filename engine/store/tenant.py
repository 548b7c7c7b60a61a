"""What one organisation sees.

In: a connection and an organisation. Out: a cursor, or answers, bound by row level security. It must not know what is
asked.

Role and organisation are set for the transaction only: what a session sets, a pooler hands to the next caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from engine.sql.tenant import TENANT_ROLE
from engine.store.round_trip import Texts, exchange

_ENTER = """
select set_config('role', %(role)s, true), set_config('app.org_id', %(org_id)s, true),
       set_config('timezone', 'UTC', true)
"""
_UTC = "select set_config('timezone', 'UTC', true)"


@asynccontextmanager
async def tenant(connection: AsyncConnection[Any], org_id: str) -> AsyncIterator[AsyncCursor[Any]]:
    """Open a transaction as the tenant `org_id`; commit on leaving, roll back on an error.

    `begin`, the settings and the first statement travel together (pipeline mode), so binding costs no round trip.
    """
    async with connection.pipeline(), connection.transaction():
        await connection.execute(_ENTER, {"role": TENANT_ROLE, "org_id": org_id})
        async with connection.cursor() as cursor:
            yield cursor


async def ask(
    connection: AsyncConnection[Any], org_id: str | None, text: str, parameters: Sequence[Mapping[str, Any]]
) -> list[list[Texts]]:
    """Run one statement per set of parameters as the tenant `org_id`, all or none, in one round trip.

    Without an organisation they run as whoever is connected, which row level security may not bind: for operators.
    Returns the rows of each as Postgres wrote them.
    """
    enter = (_UTC, {}) if org_id is None else (_ENTER, {"role": TENANT_ROLE, "org_id": org_id})
    _, *answers = await exchange(connection, [enter, *((text, values) for values in parameters)])
    return answers
