"""A transaction that sees one organisation.

In: a connection and an organisation. Out: a cursor bound by row level security. It must not know statements.

Role and organisation are set for the transaction only: what a session sets, a pooler hands to the next caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

ROLE = "dex_tenant"

_ENTER = "select set_config('role', %s, true), set_config('app.org_id', %s, true), set_config('timezone', 'UTC', true)"


@asynccontextmanager
async def tenant(connection: AsyncConnection[Any], org_id: str) -> AsyncIterator[AsyncCursor[Any]]:
    """Open a transaction as the tenant `org_id`; commit on leaving, roll back on an error.

    `begin`, the settings and the first statement travel together (pipeline mode), so binding costs no round trip.
    """
    async with connection.pipeline(), connection.transaction():
        await connection.execute(_ENTER, (ROLE, org_id))
        async with connection.cursor() as cursor:
            yield cursor
