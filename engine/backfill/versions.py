"""Register the versions of specs, and keep processes with an older version from computing rows.

The version registered last is the present one. Registering is part of a deployment: `dex migrate` and `dex backfill`
do it, `dex serve` only for a spec without any version. If every process registered its own, an old and a new process
would compute all rows again alternately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.errors import EngineError
from engine.plan import Plan
from engine.sql import versions
from engine.sql.step_results import build_plan_parameters
from engine.store.connection import Connection, fetch_row, fetch_value
from engine.store.errors import wrap_errors

#: Seconds to wait for transactions that began before a new version was registered and may write step results.
_QUEUE_TIMEOUT: Final = 10.0
_QUEUE_PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True)
class PresentVersion:
    """The version of a spec that was registered last."""

    digest: str
    is_queued: bool  # whether `pending_results` has every pending step result of this version


class SpecOutdated(EngineError):
    """Another version of the spec is the present one, so this process leaves the spec's step results pending."""

    def __init__(self, spec: str) -> None:
        super().__init__(
            f"this version of the spec `{spec}` is not the one that was registered last",
            hint="update this process; to go back to its version, run `dex migrate` with it",
        )
        self.spec = spec


async def check_present_version(connection: Connection, plan: Plan) -> None:
    """Raise SpecOutdated when another version of the spec is the present one."""
    present = await fetch_present_version(connection, plan)
    if present is not None and present.digest != plan.digest:
        raise SpecOutdated(plan.name)


async def register_versions(connection: Connection, plans: Sequence[Plan]) -> list[str]:
    """Make the versions of `plans` the present ones, older ones too (a rollback); return the specs that changed.

    Adds their pending step results to `pending_results`.
    """
    changed = []
    async with wrap_errors(), connection.transaction():
        await connection.execute(versions.LOCK_VERSIONS_SQL)
        for plan in plans:
            cursor = await connection.execute(versions.REGISTER_SQL, build_plan_parameters(plan))
            if cursor.rowcount:
                changed.append(plan.name)
    async with wrap_errors():
        for plan in plans:
            await queue_history(connection, plan)
    return changed


async def queue_history(connection: Connection, plan: Plan) -> bool:
    """Add the pending step results of a plan to `pending_results`; return whether all are there now.

    They are not while another version is the present one, or while a transaction that writes step results stays open.
    """
    parameters = build_plan_parameters(plan)
    present = await fetch_present_version(connection, plan)
    if present is None or present.digest != plan.digest:
        return False
    if present.is_queued:
        return True
    if not await _wait_for_writers(connection):
        return False
    await connection.execute(versions.QUEUE_HISTORY_SQL, parameters)
    await connection.execute(versions.DELETE_UNCLAIMED_PENDING_SQL, parameters)
    if not await _wait_for_writers(connection):
        return False
    async with connection.transaction():
        await connection.execute(versions.DELETE_RECORDED_PENDING_SQL, parameters)
        await connection.execute(versions.DELETE_LOST_PENDING_SQL, parameters)
        cursor = await connection.execute(versions.MARK_QUEUED_SQL, parameters)
        return cursor.rowcount > 0


async def is_queued(connection: Connection, plan: Plan) -> bool:
    """Return whether `pending_results` has every pending step result of this version of a plan."""
    return await fetch_present_version(connection, plan) == PresentVersion(plan.digest, is_queued=True)


async def _wait_for_writers(connection: Connection) -> bool:
    """Wait for open transactions that write step results or the ledger; return whether they ended before a timeout."""
    deadline = asyncio.get_running_loop().time() + _QUEUE_TIMEOUT
    while asyncio.get_running_loop().time() < deadline:
        async with connection.transaction():
            is_free = await fetch_value(connection, versions.TRY_LOCK_QUEUE_SQL)
        if is_free:
            return True
        await asyncio.sleep(_QUEUE_PAUSE)
    return False


async def register_unknown_version(connection: Connection, plan: Plan) -> None:
    """Make the version of `plan` the present one if it was never registered.

    Raises SpecOutdated when it was, and another version has been registered since.
    """
    parameters = build_plan_parameters(plan)
    present = await fetch_present_version(connection, plan)
    if present is not None and present.digest == plan.digest:
        return
    async with connection.transaction():
        await connection.execute(versions.LOCK_VERSIONS_SQL)
        if not await fetch_value(connection, versions.IS_KNOWN_SQL, parameters):
            await connection.execute(versions.REGISTER_SQL, parameters)
    await check_present_version(connection, plan)


async def register_first_versions(connection: Connection, plans: Iterable[Plan]) -> None:
    """Register the plans of those specs that have no version at all."""
    async with wrap_errors():
        for plan in plans:
            if await fetch_present_version(connection, plan) is None:
                await register_unknown_version(connection, plan)
                await queue_history(connection, plan)


async def fetch_present_version(connection: Connection, plan: Plan) -> PresentVersion | None:
    """Return the present version of a plan's spec; None when none was registered."""
    row = await fetch_row(connection, versions.SELECT_PRESENT_SQL, {"spec": plan.name})
    return PresentVersion(*row) if row else None
