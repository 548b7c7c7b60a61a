"""`Context`, which every endpoint gets: settings, plans, connections, readiness and metrics of one app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.requests import Request

from api.database_metrics import DatabaseMetrics
from api.http.errors import build_busy_fault
from api.http.metrics import Metrics
from api.http.token_buckets import TokenBuckets
from api.http.traces import Traces
from api.pool_shares import PoolShares, Share
from api.readiness import Readiness
from api.settings import Settings
from api.token_use import TokenUse
from engine.orders.prices import Prices
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import StoreUnavailable, wrap_errors

#: Seconds that a request waits for a free connection of the pool before its response is 503.
CHECKOUT_TIMEOUT = 4.0

#: Seconds that the server has to cancel a statement whose time is up; then its connection is closed.
CANCEL_TIMEOUT = 1.0

_SHARE_IN_USE = "its share of the connections stayed in use"
_NO_TAG = Share("")
#: Whose share of the connection pool the current request uses.
pool_share: ContextVar[Share] = ContextVar("pool_share", default=_NO_TAG)
#: The share of all exports. No spec can have this name.
_EXPORTS = Share("all exports", reads_rows=True)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the endpoints of one running app share."""

    settings: Settings
    plans: tuple[Plan, ...]
    pool: Pool
    metrics: Metrics
    traces: Traces | None
    migrations: Path
    readiness: Readiness
    database_metrics: DatabaseMetrics
    token_use: TokenUse
    requests: TokenBuckets  # by address
    failed_tokens: TokenBuckets  # by address
    prices: Prices
    _shares: PoolShares = field(init=False, repr=False)
    _exports: WeakValueDictionary[str, asyncio.Semaphore] = field(  # by organisation, while it exports
        init=False, repr=False, default_factory=WeakValueDictionary
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shares", PoolShares(self.settings.pool_size))

    @asynccontextmanager
    async def connection(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection of the pool for at most `seconds`, by default `Limits.statement_seconds`.

        A slow or locked table leaves connections to other endpoints, as PoolShares says. Raises StoreUnavailable when
        no connection becomes free in time, and Fault 503 when the share of the request stays in use or the block takes
        too long; the server then cancels its statement.
        """
        share = pool_share.get()
        async with (
            _hold_share(self._shares.acquire(share), partial(self._shares.release, share), self._build_share_error),
            _bound_time(seconds or self.settings.limits.statement_seconds),
            wrap_errors(),
            self.pool.connection(timeout=CHECKOUT_TIMEOUT) as connection,
        ):
            _raise_if_canceled()
            yield connection

    @asynccontextmanager
    async def export_connection(self, org_id: str, seconds: float) -> AsyncIterator[Connection]:
        """Lend a connection for an export, which takes as long as its reader: for at most `seconds`.

        All exports together get at most half of the pool, whatever their specs are, and those of one organisation half
        of that, so that slow readers hold up neither queries nor other organisations. Raises what `connection` raises.
        """
        most = max(self.settings.pool_size // 4, 1)
        own = self._exports.setdefault(org_id, asyncio.Semaphore(most))
        hint = f"an organisation has at most {most} exports at a time; try again when one has ended"
        async with _hold_share(own.acquire(), own.release, partial(build_busy_fault, _SHARE_IN_USE, "", hint)):
            pool_share.set(_EXPORTS)
            async with self.connection(seconds) as connection:
                yield connection

    def _build_share_error(self) -> Exception:
        """Return the error of a request whose share stayed in use.

        As many requests hold a share as there are connections: if one of them waits too, the database gives none.
        """
        if self.pool.get_stats().get("requests_waiting"):
            return StoreUnavailable("the database does not answer: no connection became free")
        return build_busy_fault(_SHARE_IN_USE, "")


@asynccontextmanager
async def _hold_share(
    acquire: Awaitable[object], release: Callable[[], None], build_error: Callable[[], Exception]
) -> AsyncIterator[None]:
    """Hold a place of a share during a `with` block. Raises what `build_error` returns if none is free in time."""
    try:
        async with asyncio.timeout(CHECKOUT_TIMEOUT):
            await acquire
    except TimeoutError:
        raise build_error() from None
    try:
        yield
    finally:
        release()


def _raise_if_canceled() -> None:
    """Raise CancelledError if the task was canceled, as when its client has left.

    The pool waits by `asyncio.wait_for`, which in Python 3.11 drops a cancellation that comes with a connection.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@asynccontextmanager
async def _bound_time(seconds: float) -> AsyncIterator[None]:
    """Cancel the `with` block after `seconds`, and raise Fault 503.

    psycopg, when it is cancelled, asks the server to cancel the statement, and then waits for its end, each for up to
    five seconds. A second cancellation ends that wait, and psycopg closes the connection: a server that is frozen
    answers neither.
    """
    bound, last = asyncio.timeout(seconds), asyncio.timeout(seconds + CANCEL_TIMEOUT)
    try:
        async with last, bound:
            yield
    except TimeoutError:
        if not (bound.expired() or last.expired()):
            raise
        raise build_busy_fault(f"it took longer than {seconds:g} seconds") from None


def get_context(request: Request) -> Context:
    """Return the context of the app that answers a request."""
    context: Context = request.app.state.context
    return context
