"""The Context that every endpoint gets: settings, plans, the connection pool and the metrics of one app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from api.http.metrics import Metrics
from api.settings import Settings
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import wrap_errors

#: Seconds a request waits for a connection before it is answered that the database does not answer.
CHECKOUT_TIMEOUT = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one running app shares with its endpoints."""

    settings: Settings
    plans: tuple[Plan, ...]
    pool: Pool
    metrics: Metrics
    migrations: Path

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Check out a connection of the pool. Raises StoreUnavailable when none is free in time."""
        async with wrap_errors(), self.pool.connection(timeout=CHECKOUT_TIMEOUT) as connection:
            yield connection
