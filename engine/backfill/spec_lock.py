"""The lock that keeps two backfills of one spec from repeating each other's work.

The session holds it, since a transaction would last as long as the backfill. Behind a pooler in transaction mode a
session lock would stay with the pooler's connection, so there a transaction of a second connection holds it; that
transaction reads nothing, so it does not hold back vacuum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from engine.plan import Plan
from engine.store.connection import StoreConnection, connect, fetch_value, keep_transaction_open

_TRY_LOCK_SQL: Final = "select pg_try_advisory_lock(hashtextextended('dex backfill ' || %s, 0))"
_TRY_LOCK_IN_TRANSACTION_SQL: Final = "select pg_try_advisory_xact_lock(hashtextextended('dex backfill ' || %s, 0))"
_PAUSE: Final = 0.2


async def hold_spec_lock(
    stack: AsyncExitStack, dsn: str, connection: StoreConnection, plan: Plan, waiting: Callable[[], None]
) -> None:
    """Wait until no other backfill of the spec runs, then hold its lock until `stack` is closed.

    `waiting` is called once, if another backfill holds the lock.
    """
    holder, is_told = connection, False
    if connection.behind_pooler:
        holder = await stack.enter_async_context(await connect(dsn))
    while True:
        async with AsyncExitStack() as attempt:
            if holder.behind_pooler:
                await attempt.enter_async_context(holder.transaction())
                await keep_transaction_open(holder)
            sql = _TRY_LOCK_IN_TRANSACTION_SQL if holder.behind_pooler else _TRY_LOCK_SQL
            if await fetch_value(holder, sql, (plan.name,)):
                stack.push_async_exit(attempt.pop_all())
                return
        if not is_told:
            waiting()
            is_told = True
        await asyncio.sleep(_PAUSE)
