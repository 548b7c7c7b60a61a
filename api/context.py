"""`Context`, which every endpoint gets: settings, plans, connections, readiness and metrics of one app."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.requests import Request

from api.database_metrics import DatabaseMetrics
from api.http.errors import build_busy_fault
from api.http.metrics import Metrics
from api.http.token_buckets import TokenBuckets
from api.http.traces import Traces
from api.readiness import Readiness
from api.settings import Settings
from api.token_use import TokenUse
from engine.orders.prices import Prices
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import wrap_errors

#: Seconds that a request waits for a free connection of the pool before its response is 503.
CHECKOUT_TIMEOUT = 4.0

#: Seconds that the server has to cancel a statement whose time is up; then its connection is closed.
CANCEL_TIMEOUT = 1.0

#: Whose share of the connection pool the current request uses: the tag of its endpoint, which for endpoints of a spec
#: is the spec's name.
pool_share: ContextVar[str] = ContextVar("pool_share", default="")
#: The share of all exports. No spec can have this name.
_EXPORTS = "all exports"


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
    _shares: dict[str, asyncio.Semaphore] = field(init=False, repr=False)
    _exports: WeakValueDictionary[str, asyncio.Semaphore] = field(  # by organisation, while it exports
        init=False, repr=False, default_factory=WeakValueDictionary
    )

    def __post_init__(self) -> None:
        most = max(self.settings.pool_size // 2, 1)
        object.__setattr__(self, "_shares", defaultdict(lambda: asyncio.Semaphore(most)))

    @asynccontextmanager
    async def connection(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection of the pool for at most `seconds`, by default `Limits.statement_seconds`.

        All endpoints of one spec together get at most half of the pool, so that a slow or locked table leaves the other
        half to other endpoints. Raises StoreUnavailable when no connection becomes free in time, and Fault 503 when the
        spec's half stays in use or the block takes too long; the server then cancels its statement.
        """
        async with (
            _hold_share(self._shares[pool_share.get()]),
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
        async with _hold_share(own, hint):
            pool_share.set(_EXPORTS)
            async with self.connection(seconds) as connection:
                yield connection


@asynccontextmanager
async def _hold_share(share: asyncio.Semaphore, *hint: str) -> AsyncIterator[None]:
    """Hold one of the places of `share` during a `with` block. Raises Fault 503 when none becomes free in time."""
    try:
        async with asyncio.timeout(CHECKOUT_TIMEOUT):
            await share.acquire()
    except TimeoutError:
        raise build_busy_fault("its share of the connections stayed in use", "", *hint) from None
    try:
        yield
    finally:
        share.release()


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
