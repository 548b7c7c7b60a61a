"""Create and read submissions, and record which of their runs Trigger.dev has taken."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from engine.runs.errors import ForeignCompany
from engine.runs.statuses import Runner
from engine.sql.named_queries import read_named_queries
from engine.store.connection import Connection, RawJson
from engine.store.errors import FOREIGN_KEY_VIOLATION, StoreRefused, wrap_errors
from engine.store.identity import check_organisation
from engine.store.tenant import open_tenant_transaction

QUERIES: Final = read_named_queries("engine.runs", "submissions.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubmission:
    """A submission to create. Each field is a parameter of the query `create_submission`."""

    org_id: str
    company_id: str | None
    steps: RawJson
    inputs: RawJson
    source: str | None
    metadata: RawJson
    runner: Runner


@dataclass(frozen=True, slots=True)
class CreatedSubmission:
    """A submission as Postgres stored it, as JSON text, and its runs in the order of the inputs."""

    json: str
    run_ids: tuple[str, ...]


async def create_submission(connection: Connection, submission: NewSubmission) -> CreatedSubmission:
    """Store a submission, a run per input and its queued steps in one transaction.

    Raises ForeignCompany, UnknownOrganisation, StoreRefused, StoreUnavailable.
    """
    try:
        return await _insert_submission(connection, submission)
    except StoreRefused as error:
        if error.sqlstate == FOREIGN_KEY_VIOLATION:
            await check_organisation(connection, submission.org_id)
        raise


async def _insert_submission(connection: Connection, submission: NewSubmission) -> CreatedSubmission:
    parameters = {field.name: getattr(submission, field.name) for field in fields(submission)}
    async with wrap_errors(), open_tenant_transaction(connection, submission.org_id) as cursor:
        if submission.company_id:
            await cursor.execute(QUERIES["find_company"], parameters)
            if await cursor.fetchone() != (True,):
                raise ForeignCompany(
                    "`company_id` does not belong to this organisation",
                    hint="send one of the organisation's own, or none",
                )
        await cursor.execute(QUERIES["create_submission"], parameters)
        row = await cursor.fetchone()
    assert row is not None
    text, run_ids = row
    return CreatedSubmission(text, tuple(run_ids))


async def read_submission(
    connection: Connection, submission_id: str, org_id: str, company_id: str | None = None
) -> str | None:
    """Return a submission with its runs and steps, without payloads; None when the organisation has none of that id."""
    parameters = {"submission_id": submission_id, "org_id": org_id, "company_id": company_id}
    async with wrap_errors(), open_tenant_transaction(connection, org_id) as cursor:
        await cursor.execute(QUERIES["read_submission"], parameters)
        row = await cursor.fetchone()
    return row[0] if row else None


async def find_undispatched_runs(connection: Connection, submission_id: str) -> list[tuple[str, str, str | None]]:
    """Return id, organisation and company of each queued run that Trigger.dev has not confirmed."""
    async with wrap_errors():
        cursor = await connection.execute(QUERIES["find_undispatched_runs"], {"submission_id": submission_id})
        return await cursor.fetchall()


async def record_dispatch(connection: Connection, run_id: str, trigger_run_id: str) -> None:
    """Store Trigger.dev's id of a run."""
    parameters = {"pipeline_run_id": run_id, "trigger_run_id": trigger_run_id}
    async with wrap_errors():
        await connection.execute(QUERIES["record_dispatch"], parameters)
