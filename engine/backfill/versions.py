"""Register the versions of specs, and keep a process with an older one from folding rows.

The version that was registered last is the present one. Registering is a step of a deployment: `dex migrate` and
`dex backfill` do it, `dex serve` only for a spec without any version. Without this an old and a new process would fold
history anew in turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from engine.errors import EngineError
from engine.plan import Plan
from engine.sql import versions
from engine.store.connection import Connection
from engine.store.errors import wrap_errors

#: Seconds to wait for the transactions that may write step results without having seen a new version.
_QUEUE_TIMEOUT: Final = 10.0
_QUEUE_PAUSE: Final = 0.05


class SpecOutdated(EngineError):
    """Another version of the spec is the present one, so this process leaves its work pending."""

    def __init__(self, spec: str) -> None:
        super().__init__(
            f"this version of the spec `{spec}` is not the one that was registered last",
            hint="bring this process up to date; to go back to its version, run `dex migrate` with it",
        )
        self.spec = spec


async def check_present_version(connection: Connection, plan: Plan) -> None:
    """Raise SpecOutdated when another version of the spec is the present one."""
    digest = await fetch_present_digest(connection, plan)
    if digest not in (None, plan.digest):
        raise SpecOutdated(plan.name)


async def register_versions(connection: Connection, plans: Sequence[Plan]) -> list[str]:
    """Make the versions of `plans` the present ones, also older ones (a rollback); return the specs that changed.

    What is pending under them is queued. Raises StoreUnavailable, StoreRefused.
    """
    changed = []
    async with wrap_errors(), connection.transaction():
        await connection.execute(versions.LOCK_VERSIONS_SQL)
        for plan in plans:
            cursor = await connection.execute(versions.REGISTER_SQL, _build_parameters(plan))
            if cursor.rowcount:
                changed.append(plan.name)
    async with wrap_errors():
        for plan in plans:
            await queue_history(connection, plan)
    return changed


async def queue_history(connection: Connection, plan: Plan) -> bool:
    """Add what is pending of a plan to `pending_results`, unless it was; return whether it is there now.

    It is not while another version is the present one, or while a transaction that writes step results stays open.
    """
    parameters = _build_parameters(plan)
    if await is_queued(connection, plan):
        return True
    if await fetch_present_digest(connection, plan) != plan.digest or not await _wait_for_writers(connection):
        return False
    async with connection.transaction():
        await connection.execute(versions.DELETE_FOREIGN_PENDING_SQL, parameters)
        await connection.execute(versions.QUEUE_HISTORY_SQL, parameters)
    if not await _wait_for_writers(connection):
        return False
    async with connection.transaction():
        await connection.execute(versions.DELETE_RECORDED_PENDING_SQL, parameters)
        cursor = await connection.execute(versions.MARK_QUEUED_SQL, parameters)
        return cursor.rowcount > 0


async def is_queued(connection: Connection, plan: Plan) -> bool:
    """Return whether `pending_results` has all that is pending of this version of a plan."""
    cursor = await connection.execute(versions.IS_QUEUED_SQL, _build_parameters(plan))
    (queued,) = await cursor.fetchone() or (False,)
    return bool(queued)


async def _wait_for_writers(connection: Connection) -> bool:
    """Wait until whoever is writing step results or the ledger has ended; return whether they have."""
    deadline = asyncio.get_running_loop().time() + _QUEUE_TIMEOUT
    while asyncio.get_running_loop().time() < deadline:
        async with connection.transaction():
            cursor = await connection.execute(versions.TRY_LOCK_QUEUE_SQL)
            (locked,) = await cursor.fetchone() or (False,)
        if locked:
            return True
        await asyncio.sleep(_QUEUE_PAUSE)
    return False


async def register_unknown_version(connection: Connection, plan: Plan) -> None:
    """Make the version of `plan` the present one if it was never registered.

    Raises SpecOutdated when it was and another one has been registered since.
    """
    parameters = _build_parameters(plan)
    if await fetch_present_digest(connection, plan) == plan.digest:
        return
    async with connection.transaction():
        await connection.execute(versions.LOCK_VERSIONS_SQL)
        known = await (await connection.execute(versions.IS_KNOWN_SQL, parameters)).fetchone()
        if not (known and known[0]):
            await connection.execute(versions.REGISTER_SQL, parameters)
    await check_present_version(connection, plan)


async def register_first_versions(connection: Connection, plans: Iterable[Plan]) -> None:
    """Register the specs that have no version at all. Raises StoreUnavailable, StoreRefused."""
    async with wrap_errors():
        for plan in plans:
            if await fetch_present_digest(connection, plan) is None:
                await register_unknown_version(connection, plan)
                await queue_history(connection, plan)


async def fetch_present_digest(connection: Connection, plan: Plan) -> str | None:
    """Return the digest of the present version of a plan's spec; None when none was registered."""
    row = await (await connection.execute(versions.SELECT_PRESENT_SQL, {"spec": plan.name})).fetchone()
    return row[0] if row else None


def _build_parameters(plan: Plan) -> dict[str, object]:
    return {"spec": plan.name, "digest": plan.digest, "operations": list(plan.operations)}
