"""Open connections, and pools of them, that send JSON text as jsonb parameters, directly or through a pooler.

psycopg prepares statements by default. A pooler that gives a server connection to another client after each
transaction does not keep prepared statements, so none are prepared behind a pooler. It is detected by its process id,
which is not the server's. `?prepare_threshold=N` in the URL overrides the detection; 0 prepares nothing.

The `fetch_` functions raise psycopg's own errors: their callers wrap them, around all statements of a task
(`wrap_errors`).
"""

from __future__ import annotations

import asyncio
import select
import time
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from psycopg import AsyncConnection, IsolationLevel, postgres
from psycopg.abc import Params
from psycopg.adapt import Dumper
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from engine.store.database_url import read_database_url
from engine.store.errors import wrap_errors

#: Seconds to wait for a new connection, or for a free one of the pool.
_CONNECT_TIMEOUT = 10
#: Seconds for which a pool retries in the background, at growing intervals; after that it retries at the next request
#: for a connection. With psycopg's default of five minutes, a recovered server would stay unused for up to half as long
#: as it was down.
_RECONNECT_TIMEOUT = 3.0
#: Seconds that a connection may be idle in the pool before a statement checks it. That the server closed a connection
#: is noticed without a statement; that a firewall dropped one is not.
_TRUSTED_SECONDS = 30.0
#: Connections that a pool keeps open: the console's first page sends several requests at once, and opening a connection
#: takes longer than answering one.
_KEPT_CONNECTIONS = 4
#: Seconds to wait for the result of the statement that checks an idle connection.
_CHECK_TIMEOUT = 2.0
_KEEP_OPEN = """
select set_config(name, '0', true) from pg_settings
where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""
#: What servers or roles may set otherwise: the isolation of statements outside of transactions, and whether numbers of
#: `double precision` are printed with all their digits.
_READ_SESSION_SQL = """
select pg_backend_pid(), current_setting('default_transaction_isolation') = 'read committed'
    and current_setting('extra_float_digits')::int > 0
"""
_SET_SESSION_SQL = """
select set_config('default_transaction_isolation', 'read committed', false),
    set_config('extra_float_digits', '1', false)
"""
_JSONB_OID = postgres.types["jsonb"].oid


@dataclass(frozen=True, slots=True)
class StatementBounds:
    """Timeouts in seconds: for a statement, for its wait for a lock, and for an idle transaction."""

    statement: float
    lock: float
    idle_transaction: float


class StoreConnection(AsyncConnection[Any]):
    """A connection that knows whether a pooler is in between, its timeouts, and when it was taken from its pool."""

    #: Whether a pooler is in between: then settings of the session would also apply to the next client.
    behind_pooler: bool = False
    #: Timeouts to set in each transaction, because they cannot be set for the session.
    transaction_bounds: StatementBounds | None = None
    #: When the connection was last taken from its pool.
    taken_at: float = 0.0


T = TypeVar("T")
Connection: TypeAlias = AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[StoreConnection]


class RawJson(bytes):
    """JSON text as bytes, sent as a jsonb parameter. Postgres checks it; Python neither decodes nor encodes it."""


class _RawJsonDumper(Dumper):
    oid = _JSONB_OID

    def dump(self, obj: RawJson) -> bytes:
        return bytes(obj)


async def connect(dsn: str) -> StoreConnection:
    """Open one connection in autocommit mode. Raises InvalidDatabaseUrl when the URL cannot be read."""
    url, settings = read_database_url(dsn)
    async with wrap_errors():
        connection = await StoreConnection.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, **settings)
        try:
            await _configure_connection(connection, settings)
        except BaseException:
            await connection.close()
            raise
    return connection


def build_pool(dsn: str, size: int, bounds: StatementBounds | None = None) -> Pool:
    """Return a pool of up to `size` connections, which is not open yet.

    It gives out no connection that died while it was idle. `bounds` are the timeouts of every statement. Raises
    InvalidDatabaseUrl when the URL cannot be read.
    """
    url, settings = read_database_url(dsn)

    async def configure(connection: StoreConnection) -> None:
        await _configure_connection(connection, settings, bounds)

    async def check(connection: StoreConnection) -> None:
        try:
            await _check_alive(connection)
        except Exception:
            await pool.drain()  # usually all connections died together, and each would delay a caller
            raise

    async def close_with_pipeline(connection: StoreConnection) -> None:
        # A request that is canceled while its pipeline ends leaves it behind, and the next statements would fail.
        if connection._pipeline is not None:
            await connection.close()

    pool: Pool = AsyncConnectionPool(
        url,
        connection_class=StoreConnection,
        min_size=min(size, _KEPT_CONNECTIONS),
        max_size=size,
        open=False,
        timeout=_CONNECT_TIMEOUT,
        reconnect_timeout=_RECONNECT_TIMEOUT,
        configure=configure,
        check=check,
        reset=close_with_pipeline,
        kwargs={"autocommit": True, "connect_timeout": _CONNECT_TIMEOUT, **settings},
    )
    return pool


async def keep_transaction_open(connection: Connection) -> None:
    """Let the current transaction be idle for as long as it takes, whatever the server allows others."""
    await connection.execute(_KEEP_OPEN)


async def fetch_rows(connection: Connection, sql: str, parameters: Params | None = None) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows."""
    return await (await connection.execute(sql, parameters)).fetchall()


async def fetch_row(connection: Connection, sql: str, parameters: Params | None = None) -> Any:
    """Run one statement and return its first row; None if it has none."""
    return await (await connection.execute(sql, parameters)).fetchone()


async def fetch_value(connection: Connection, sql: str, parameters: Params | None = None) -> Any:
    """Run one statement and return the first column of its first row; None if it has none."""
    row = await fetch_row(connection, sql, parameters)
    return row[0] if row else None


async def fetch_records(connection: Connection, kind: type[T], sql: str, parameters: Params | None = None) -> list[T]:
    """Run one statement and return its rows as objects of `kind`, whose fields have the names of the columns."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(sql, parameters)).fetchall()


def register_raw_json(connection: AsyncConnection[object]) -> None:
    """Register RawJson with `connection`, so that it can be sent as a parameter."""
    connection.adapters.register_dumper(RawJson, _RawJsonDumper)


async def _configure_connection(
    connection: StoreConnection, settings: dict[str, Any], bounds: StatementBounds | None = None
) -> None:
    """Register types, detect a pooler, and set the timeouts: for the session, or per transaction behind a pooler."""
    register_raw_json(connection)
    # Under another default of the server, an idle transaction that holds a lock would keep a snapshot, for which the
    # build of an index waits, and an upsert would fail where another one changed the row.
    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
    backend, is_usual = await fetch_row(connection, _READ_SESSION_SQL)
    connection.behind_pooler = backend != connection.info.backend_pid
    if not is_usual and not connection.behind_pooler:
        await connection.execute(_SET_SESSION_SQL)
    if connection.behind_pooler and "prepare_threshold" not in settings:
        connection.prepare_threshold = None
    if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
        # psycopg reads no other style. A pooler keeps this setting for each client, since servers report its changes.
        await connection.execute("set datestyle = 'ISO'")
    if bounds is None:
        return
    if connection.behind_pooler:
        connection.transaction_bounds = bounds
        return
    await connection.execute(
        "select set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        [format_milliseconds(seconds) for seconds in (bounds.statement, bounds.lock, bounds.idle_transaction)],
    )


def format_milliseconds(seconds: float) -> str:
    """Format seconds as a timeout setting of Postgres: at least 1 ms, since 0 means no timeout."""
    return f"{max(round(seconds * 1000), 1)}ms"


async def _check_alive(connection: StoreConnection) -> None:
    """Raise psycopg's error, or TimeoutError, for a dead connection.

    Mostly this needs no round trip: a server that closes a connection sends a message, so the socket has input.
    """
    now = time.monotonic()
    silent_for, connection.taken_at = now - connection.taken_at, now
    if silent_for < _TRUSTED_SECONDS and not _has_input(connection.fileno()):
        return
    async with asyncio.timeout(_CHECK_TIMEOUT):
        await AsyncConnectionPool.check_connection(connection)


def _has_input(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
