"""Backfill the pending step results of every spec once: what API processes do at intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from engine.backfill.run import run_backfill
from engine.backfill.versions import SpecOutdated, fetch_present_version
from engine.errors import EngineError
from engine.plan import Plan
from engine.rows.accounts import Account
from engine.sql import versions
from engine.sql.step_results import Scope
from engine.store.concurrency import run_concurrently
from engine.store.connection import connect, fetch_value
from engine.store.errors import StoreRefused, wrap_errors

T = TypeVar("T")
#: The number of specs swept concurrently: while Postgres writes for one, Python extracts for another.
_SPECS_AT_A_TIME: Final = 2


class BackfillAtWork(EngineError):
    """Another backfill of the spec is running, so this one would only repeat its work."""

    def __init__(self, spec: str) -> None:
        super().__init__(f"another backfill of the spec `{spec}` is at work", hint="wait for it: it does the same work")


async def sweep_specs(dsn: str, plans: Sequence[Plan]) -> list[Account]:
    """Backfill the pending step results of each plan; return the Account of each that had some or could not be swept.

    A spec is skipped while another backfill of it runs, and while its present version is not the plan's: only a
    deployment registers versions.
    """
    accounts = await map_specs(lambda plan: _sweep_spec(dsn, plan), plans)
    return [account for account in accounts if account is not None]


async def map_specs(work: Callable[[Plan], Awaitable[T]], plans: Sequence[Plan]) -> list[T]:
    """Return the result of `work` for each plan, a few at a time; if one raises, cancel the others and raise."""
    places = asyncio.Semaphore(_SPECS_AT_A_TIME)

    async def work_within_limit(plan: Plan) -> T:
        async with places:
            return await work(plan)

    return await run_concurrently(*map(work_within_limit, plans))


async def _sweep_spec(dsn: str, plan: Plan) -> Account | None:
    try:
        async with wrap_errors(), await connect(dsn) as connection:
            present = await fetch_present_version(connection, plan)
            if present is None:
                return None
            if present.digest != plan.digest:
                raise SpecOutdated(plan.name)
            if present.is_queued and not await fetch_value(connection, versions.HAS_WORK_SQL, {"spec": plan.name}):
                return None
        result = await run_backfill(dsn, plan, Scope(), waiting=_refuse_waiting(plan))
    except (StoreRefused, SpecOutdated, BackfillAtWork) as error:
        return Account(plan.name, error=error.message)
    return result.account


def _refuse_waiting(plan: Plan) -> Callable[[], None]:
    def refuse() -> None:
        raise BackfillAtWork(plan.name)

    return refuse
