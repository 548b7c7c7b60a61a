"""The Context that every endpoint gets: settings, plans, connections, readiness and the metrics of one app."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from api.figures import DatabaseFigures
from api.http.errors import build_busy_fault
from api.http.metrics import Metrics
from api.http.rate import TokenBuckets
from api.http.traces import Traces
from api.readiness import Readiness
from api.settings import Settings
from api.token_use import TokenUse
from engine.orders.prices import Prices
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import wrap_errors

#: Seconds a request waits for a connection before it is answered that the database does not answer.
CHECKOUT_TIMEOUT = 4.0

#: Whose share of the pool the request takes: the tag of its endpoint, which for a spec's endpoints is the spec.
pool_share: ContextVar[str] = ContextVar("pool_share", default="")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What one running app shares with its endpoints."""

    settings: Settings
    plans: tuple[Plan, ...]
    pool: Pool
    metrics: Metrics
    traces: Traces | None
    migrations: Path
    readiness: Readiness
    figures: DatabaseFigures
    token_use: TokenUse
    requests: TokenBuckets  # by address
    failed_tokens: TokenBuckets  # by address
    prices: Prices
    _shares: dict[str, asyncio.Semaphore] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        most = max(self.settings.pool_size // 2, 1)
        object.__setattr__(self, "_shares", defaultdict(lambda: asyncio.Semaphore(most)))

    @asynccontextmanager
    async def connection(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """Check out a connection of the pool for at most `seconds`, by default the bound of one request's statements.

        The endpoints of one spec together hold at most half of the pool, so that a slow or locked table leaves the
        other half to everybody else. Raises StoreUnavailable when no connection is free in time, Fault 503 when the
        share is used up for too long or when the work takes too long; its statement is cancelled at the server.
        """
        share = self._shares[pool_share.get()]
        try:
            await (asyncio.wait_for(share.acquire(), CHECKOUT_TIMEOUT) if share.locked() else share.acquire())
        except TimeoutError:
            raise build_busy_fault("its share of the connections stayed in use") from None
        try:
            async with (
                _bound_time(seconds or self.settings.limits.statement_seconds),
                wrap_errors(),
                self.pool.connection(timeout=CHECKOUT_TIMEOUT) as connection,
            ):
                yield connection
        finally:
            share.release()


@asynccontextmanager
async def _bound_time(seconds: float) -> AsyncIterator[None]:
    """Cancel what runs in the block after `seconds`; then raise Fault 503."""
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise build_busy_fault(f"it took longer than {seconds:g} seconds") from None
