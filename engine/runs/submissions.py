"""Submissions: made whole or not at all.

In: an organisation, steps and inputs as JSON text. Out: JSON text as Postgres wrote it, and the runs' ids. It must not
know who executes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from engine.errors import EngineError
from engine.runs import submission_statements as sql
from engine.store.errors import wrap
from engine.store.raw import RawJson
from engine.store.tenant import tenant


class ForeignCompany(EngineError):
    """The company is not one of the organisation's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubmission:
    """What is asked for. `runner` is who executes it: "local" or "trigger"."""

    org_id: str
    company_id: str | None
    steps: RawJson
    inputs: RawJson
    source: str | None
    metadata: RawJson
    runner: str


@dataclass(frozen=True, slots=True)
class Made:
    """A submission as it was made, and its runs in the order of the inputs."""

    json: str
    run_ids: tuple[str, ...]


async def create(connection: AsyncConnection[Any], new: NewSubmission) -> Made:
    """Store a submission, a run per input and its queued steps in one transaction.

    Raises ForeignCompany, StoreRefused for an organisation that does not exist, StoreUnavailable.
    """
    asked = {name: getattr(new, name) for name in NewSubmission.__slots__}
    async with wrap(), tenant(connection, new.org_id) as cursor:
        if new.company_id and not await _owns(cursor, asked):
            raise ForeignCompany(
                "`company_id` does not belong to this organisation", hint="send one of the organisation's own, or none"
            )
        await cursor.execute(sql.CREATE, asked)
        row = await cursor.fetchone()
    assert row is not None
    shown, run_ids = row
    return Made(shown, tuple(run_ids))


async def read(
    connection: AsyncConnection[Any], submission_id: str, org_id: str, company_id: str | None = None
) -> str | None:
    """Return a submission with its runs and steps, without payloads; None when the organisation has none of that id."""
    asked = {"id": submission_id, "org_id": org_id, "company_id": company_id}
    async with wrap(), tenant(connection, org_id) as cursor:
        await cursor.execute(sql.READ, asked)
        row = await cursor.fetchone()
    return row[0] if row else None


async def undispatched(connection: AsyncConnection[Any], submission_id: str) -> list[tuple[str, str, str | None]]:
    """Return id, organisation and company of each queued run that Trigger.dev has not confirmed."""
    async with wrap():
        return await (await connection.execute(sql.UNDISPATCHED, {"id": submission_id})).fetchall()


async def dispatched(connection: AsyncConnection[Any], run_id: str, trigger_run_id: str) -> None:
    """Note that Trigger.dev has a run."""
    async with wrap():
        await connection.execute(sql.DISPATCHED, {"id": run_id, "trigger_run_id": trigger_run_id})


async def _owns(cursor: Any, asked: dict[str, Any]) -> bool:
    await cursor.execute(sql.COMPANY, asked)
    return bool((await cursor.fetchone())[0])
