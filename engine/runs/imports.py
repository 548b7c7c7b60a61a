"""Store research that was done elsewhere as step results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from engine.sql.named_queries import read_named_queries
from engine.store.connection import Connection, RawJson
from engine.store.errors import FOREIGN_KEY_VIOLATION, StoreRefused, wrap_errors
from engine.store.identity import check_organisation
from engine.store.tenant import open_tenant_transaction

QUERIES: Final = read_named_queries("engine.runs", "imports.sql")


@dataclass(frozen=True, slots=True)
class ImportedResult:
    """A step result to store, with its two payloads as JSON text."""

    output_payload: RawJson
    input_payload: RawJson | None


@dataclass(frozen=True, slots=True)
class Import:
    """What an import stored: the submission, and the step results in the given order."""

    submission_id: str
    step_result_ids: tuple[str, ...]


async def import_results(connection: Connection, org_id: str, source: str, results: Iterable[ImportedResult]) -> Import:
    """Store the step results of an organisation below a new submission, in one transaction.

    Raises UnknownOrganisation when there is no such organisation. After an error nothing is stored.
    """
    try:
        async with wrap_errors(), open_tenant_transaction(connection, org_id) as cursor:
            await cursor.execute(QUERIES["create_submission"], {"org_id": org_id, "source": source})
            (submission_id,) = await cursor.fetchone() or ("",)
            ids = []
            for place, result in enumerate(results):
                parameters = {
                    "place": place,
                    "org_id": org_id,
                    "submission_id": submission_id,
                    "input_payload": result.input_payload,
                    "output_payload": result.output_payload,
                }
                await cursor.execute(QUERIES["create_step_result"], parameters)
                ids += [step_id for (step_id,) in await cursor.fetchall()]
            return Import(submission_id, tuple(ids))
    except StoreRefused as error:
        if error.sqlstate == FOREIGN_KEY_VIOLATION:
            await check_organisation(connection, org_id)
        raise
