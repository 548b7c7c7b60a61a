"""Connections.

In: a connection URL. Out: a connection, or a pool of them, that sends JSON as text. It must not know what they are for.

Prepared statements are psycopg's own affair and on by default; behind a pooler in transaction mode they fail, so
`?prepare_threshold=0` in the URL turns them off.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from engine.store.errors import wrap
from engine.store.raw import register

Connection: TypeAlias = AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[Connection]

_OURS = "prepare_threshold"
_WAIT = 10  # seconds for a connection to be made, or for one of the pool to be free
#: Seconds a pool goes on trying by itself, at ever longer intervals; after that whoever asks next makes it try at once.
#: psycopg's own five minutes would leave a server that is back unused for up to half of an outage.
_PERSISTENCE = 3.0


async def connect(dsn: str) -> Connection:
    """Open one connection. Raises StoreUnavailable."""
    url, settings = _split(dsn)
    async with wrap():
        connection = await AsyncConnection.connect(url, autocommit=True, connect_timeout=_WAIT, **settings)
    register(connection)
    return connection


def pool(dsn: str, size: int) -> Pool:
    """Return a pool of up to `size` connections, not yet open."""
    url, settings = _split(dsn)
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=_WAIT,
        reconnect_timeout=_PERSISTENCE,
        configure=_configure,
        kwargs={"autocommit": True, "connect_timeout": _WAIT, **settings},
    )


async def _configure(connection: Connection) -> None:
    register(connection)


def _split(dsn: str) -> tuple[str, dict[str, Any]]:
    """The URL without our own parameter, and what it asks for."""
    if f"{_OURS}=" not in dsn:
        return dsn, {}
    parts = urlsplit(dsn)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    threshold = int(dict(pairs)[_OURS])
    kept = urlencode([pair for pair in pairs if pair[0] != _OURS])
    return urlunsplit(parts._replace(query=kept)), {"prepare_threshold": threshold or None}
