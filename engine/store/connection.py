"""Open connections and pools of them that send JSON text as jsonb parameters.

psycopg prepares statements by default. A pooler in transaction mode does not keep prepared statements, so
`?prepare_threshold=0` in the URL turns them off.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from psycopg import AsyncConnection, postgres
from psycopg.adapt import Dumper
from psycopg_pool import AsyncConnectionPool

from engine.store.errors import wrap_errors

Connection: TypeAlias = AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[Connection]

_THRESHOLD_PARAMETER = "prepare_threshold"
#: Seconds to wait until a connection is made, or until one of the pool is free.
_CONNECT_TIMEOUT = 10
#: Seconds a pool retries in the background, at growing intervals; after that the next request for a connection makes it
#: retry at once. psycopg's default of five minutes would leave a recovered server unused for up to half of its outage.
_RECONNECT_TIMEOUT = 3.0
_JSONB_OID = postgres.types["jsonb"].oid


class RawJson(bytes):
    """JSON text as bytes, sent as a jsonb parameter. Postgres checks it; Python neither decodes nor encodes it."""


class _RawJsonDumper(Dumper):
    oid = _JSONB_OID

    def dump(self, obj: RawJson) -> bytes:
        return bytes(obj)


async def connect(dsn: str) -> Connection:
    """Open one connection in autocommit mode. Raises StoreUnavailable."""
    url, settings = _split_settings(dsn)
    async with wrap_errors():
        connection = await AsyncConnection.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, **settings)
    register_raw_json(connection)
    return connection


def build_pool(dsn: str, size: int) -> Pool:
    """Return a pool of up to `size` connections, not yet open."""
    url, settings = _split_settings(dsn)
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=_CONNECT_TIMEOUT,
        reconnect_timeout=_RECONNECT_TIMEOUT,
        configure=_configure_connection,
        kwargs={"autocommit": True, "connect_timeout": _CONNECT_TIMEOUT, **settings},
    )


def register_raw_json(connection: AsyncConnection[object]) -> None:
    """Let `connection` send RawJson."""
    connection.adapters.register_dumper(RawJson, _RawJsonDumper)


async def _configure_connection(connection: Connection) -> None:
    register_raw_json(connection)


def _split_settings(dsn: str) -> tuple[str, dict[str, Any]]:
    """Return the URL without `prepare_threshold`, which libpq does not know, and psycopg's argument for it."""
    if f"{_THRESHOLD_PARAMETER}=" not in dsn:
        return dsn, {}
    parts = urlsplit(dsn)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    threshold = int(dict(pairs)[_THRESHOLD_PARAMETER])
    query = urlencode([pair for pair in pairs if pair[0] != _THRESHOLD_PARAMETER])
    return urlunsplit(parts._replace(query=query)), {"prepare_threshold": threshold or None}
