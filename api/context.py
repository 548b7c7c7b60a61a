"""What every route may use: settings, plans, the pool, the meters.

In: what `create_app` was given. Out: one frozen Context. It must not know any route.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from api.http.metrics import Meters
from api.settings import Settings
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import wrap

#: Seconds a request waits for a connection before it is told that the database does not answer.
PATIENCE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts of one running API, handed to the functions that build routes."""

    settings: Settings
    plans: tuple[Plan, ...]
    pool: Pool
    meters: Meters
    migrations: Path

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool. Raises StoreUnavailable when none can be had."""
        async with wrap(), self.pool.connection(timeout=PATIENCE) as connection:
            yield connection
