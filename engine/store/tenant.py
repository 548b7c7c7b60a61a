"""What one organisation sees.

In: a connection and an organisation. Out: a cursor, or answers, bound by row level security. It must not know what is
asked.

Role and organisation are set for the transaction only: what a session sets, a pooler hands to the next caller.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, AsyncRawCursor

ROLE = "dex_tenant"

_ENTER = "select set_config('role', %s, true), set_config('app.org_id', %s, true), set_config('timezone', 'UTC', true)"

_PLACE = re.compile(r"%\((\w+)\)s|%%")

#: A row as Postgres wrote it, in text.
Texts = tuple[bytes | None, ...]


@asynccontextmanager
async def tenant(connection: AsyncConnection[Any], org_id: str) -> AsyncIterator[AsyncCursor[Any]]:
    """Open a transaction as the tenant `org_id`; commit on leaving, roll back on an error.

    `begin`, the settings and the first statement travel together (pipeline mode), so binding costs no round trip.
    """
    async with connection.pipeline(), connection.transaction():
        await connection.execute(_ENTER, (ROLE, org_id))
        async with connection.cursor() as cursor:
            yield cursor


async def ask(
    connection: AsyncConnection[Any], org_id: str | None, text: str, parameters: Sequence[Mapping[str, Any]]
) -> list[list[Texts]]:
    """Run one statement per set of parameters as the tenant `org_id`; return each one's rows as Postgres wrote them.

    Without an organisation they run as whoever is connected, which row level security may not bind: for operators.

    All of them are one transaction and one round trip. Neither `begin` nor `commit` is sent: outside of a transaction
    block, what a pipeline sends up to its end is one transaction, settings included. That, and leaving the values
    undecoded, halves what a statement costs the client.
    """
    assert connection.autocommit, "a pipeline is a transaction of its own only in autocommit mode"
    numbered, names = _numbered(text)
    cursors = []
    async with connection.pipeline():
        if org_id is None:
            await connection.execute("select set_config('timezone', 'UTC', true)")
        else:
            await connection.execute(_ENTER, (ROLE, org_id))
        for values in parameters:
            cursor = AsyncRawCursor(connection)
            cursors.append(await cursor.execute(numbered, [values[name] for name in names]))
    return [_texts(cursor) for cursor in cursors]


@lru_cache(maxsize=1000)
def _numbered(text: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with `$1` for `%(name)s`, and the names in order; psycopg does so at each call of a long one."""
    names = tuple(dict.fromkeys(name for name in _PLACE.findall(text) if name))
    numbers = {name: f"${number}" for number, name in enumerate(names, start=1)}
    return _PLACE.sub(lambda place: numbers[place[1]] if place[1] else "%", text).encode(), names


def _texts(cursor: AsyncCursor[Any]) -> list[Texts]:
    result = cursor.pgresult
    assert result is not None
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
