"""Whether an organisation exists.

In: an id. Out: yes or no. It must not know why it is asked.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from engine.store.errors import wrap

_EXISTS = "select exists (select from orgs where id = %s::uuid)"


async def exists(connection: AsyncConnection[Any], org_id: str) -> bool:
    """Return whether there is such an organisation. Raises StoreUnavailable."""
    async with wrap():
        row = await (await connection.execute(_EXISTS, (org_id,))).fetchone()
    return bool(row and row[0])
