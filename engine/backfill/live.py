"""Write the rows of a live upsert; if the upsert names a recorded step result, write the rows of that instead.

They are computed from the stored step result as in a backfill, so that both write the same row. Posted values that
differ from the step result are not written: the ledger records the difference as a reason (`claim_differs`). A step
result that is not recorded yet cannot be read: its rows are written as posted, and computed once it is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.backfill.apply import BatchFold
from engine.backfill.reader import fetch_steps
from engine.backfill.versions import SpecOutdated
from engine.columns import list_columns, list_document_columns
from engine.plan import Field, Plan
from engine.rows.extract import COPIED, Reason, Row
from engine.rows.fetch_plan import FetchPlan
from engine.rows.keys import build_key
from engine.rows.outcomes import Outcome
from engine.rows.steps import Step
from engine.sql import step_upsert
from engine.sql.identifiers import Statement
from engine.sql.upsert import build_stored_rows_sql
from engine.store.connection import Connection, fetch_row
from engine.store.errors import StoreRefused, wrap_errors
from engine.store.identity import check_organisation
from engine.store.tenant import run_as_tenant
from engine.store.upsert import SourceRefused, StoredRow, Upsert, check_source_time, join_row_json, wrap_document
from engine.values import exact_json
from engine.values.column_types import shorten_json

#: How long an upsert waits for a lock. Its caller waits as long; the step result stays pending if it is not written.
_LOCK_TIMEOUT = "5s"
_MAX_ATTEMPTS = 3
#: The statuses of a step that has no result yet.
_UNRECORDED = ("queued", "running", "retrying")


@dataclass(slots=True)
class LiveResult:
    """The result of one upsert: each row as it is stored, or why the database refuses it."""

    rows: list[StoredRow | StoreRefused] = field(default_factory=list)
    outcome: Outcome | None = None  # of the step result, where the upsert names a recorded one
    reasons: Sequence[Reason] = ()  # why the step result, or elements of it, gave no row
    refused: Sequence[tuple[int, Reason]] = ()  # (index of the posted row, why the database refuses its row)
    claims: Sequence[Reason] = ()  # one per posted value that differs from that of the step result


@dataclass(frozen=True)
class LiveUpsert:
    """Writes the upserts of one plan; build it once, since it holds the SQL statements."""

    upsert: Upsert
    fold: BatchFold
    rows_sql: str
    compare_sql: str

    @classmethod
    def build(cls, plan: Plan) -> LiveUpsert:
        fetch_plan = FetchPlan(plan)
        compare_sql = step_upsert.build_compare_documents_sql(fetch_plan)
        return cls(Upsert.build(plan), BatchFold.build(fetch_plan), build_stored_rows_sql(plan), compare_sql)

    @property
    def plan(self) -> Plan:
        return self.upsert.plan

    async def write_rows(
        self, connection: Connection, org_id: str, rows: Sequence[Mapping[str, Any]], *, all_or_none: bool = False
    ) -> LiveResult:
        """Write `rows`, which all name the same source, for the organisation `org_id`; return them as they are stored.

        If they name a recorded step result, the rows of that are computed and written instead. Otherwise each row maps
        fields and source columns to converted values; with `all_or_none` all rows are written or none, without it those
        that the database accepts. Raises UnknownOrganisation; SourceRefused when the source is another organisation's;
        Rejected when its time is far ahead; StoreRefused when the database refuses a row, and `all_or_none` is set or
        the spec has no `rows`, or when a statement fails for another reason than a row's values; StoreUnavailable.
        """
        step_id = rows[0].get("source_step_result_id")
        if step_id is not None:
            async with wrap_errors():
                result = await self._write_step(connection, org_id, step_id, rows)
            if result is not None:
                return result
        if all_or_none:
            return LiveResult(list(await self.upsert.write_rows(connection, org_id, rows)))
        return LiveResult(await self.upsert.write_valid_rows(connection, org_id, rows))

    async def _write_step(
        self, connection: Connection, org_id: str, step_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> LiveResult | None:
        """Write the rows of the stored step result that `rows` name; return None if they cannot be computed now.

        They cannot while the step has no result or the result keeps changing, and while another version of the spec is
        the present one.
        """
        time = rows[0].get("source_recorded_at")
        values = {"id": step_id, "org_id": org_id, "time": time}
        row = await fetch_row(connection, step_upsert.SELECT_STEP_SQL, values)
        if row is None:
            await check_organisation(connection, org_id)
            raise SourceRefused("source_step_result_id")
        status, result_status, operation, submission_id, run_id, is_time_valid = row
        _check_sources(rows[0], submission_id, run_id)
        check_source_time(time, is_valid=is_time_valid)
        if status in _UNRECORDED:
            return None
        if status != "succeeded" or result_status != "found":
            message = f"the step is `{status}`" if status != "succeeded" else f"its result is `{result_status}`"
            return LiveResult(outcome=Outcome.FILTERED, reasons=[Reason("not_found", None, message)])
        if self.plan.find_mapping(operation) is None:
            known = ", ".join(f"`{name}`" for name in self.plan.operations)
            reason = Reason("unknown_operation", None, f"operation `{operation}` is none of this spec's: {known}")
            return LiveResult(outcome=Outcome.REJECTED, reasons=[reason])
        try:
            step = await self._fold_step(connection, step_id)
        except SpecOutdated:
            return None
        return None if step is None else await self._build_result(connection, org_id, step, rows)

    async def _fold_step(self, connection: Connection, step_id: str) -> Step | None:
        """Write the rows of one stored step result, as a backfill does.

        Returns None when it was deleted, or when it kept changing before it could be locked.
        """
        for _ in range(_MAX_ATTEMPTS):
            steps = await fetch_steps(connection, self.fold.fetch_plan, [step_id])
            recorded = await self.fold.fold_with_retry(connection, steps, again=False, lock_timeout=_LOCK_TIMEOUT)
            if recorded:
                return recorded[0]
        return None

    async def _build_result(
        self, connection: Connection, org_id: str, step: Step, rows: Sequence[Mapping[str, Any]]
    ) -> LiveResult:
        numbers = self._choose_rows(step, rows)
        stored = await self._fetch_stored(connection, org_id, [step.row_ids.get(number) for number in numbers])
        claims = await self._compare_claims(connection, step, rows)
        if claims:
            for claim in claims:
                parameters = {"spec": self.plan.name, "id": step.id, "reason": json.dumps([claim.as_dict()])}
                await connection.execute(step_upsert.NOTE_CLAIM_SQL, parameters)
        answered = [
            StoredRow(step.outcomes[number], stored[row_id])
            for number in numbers
            if (row_id := step.row_ids.get(number)) in stored and step.outcomes[number] is not Outcome.REJECTED
        ]
        return LiveResult(list(answered), step.outcome, step.reasons, self._list_refused(step, rows), claims)

    def _list_refused(self, step: Step, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, Reason]]:
        """Return (index, reason) for each posted row whose counterpart in the step result the database refuses."""
        posted = {build_key(self.plan, row): place for place, row in enumerate(rows)}
        return [
            (posted.get(build_key(self.plan, row), 0), step.refusals[number])
            for number, row in enumerate(step.extraction.rows)
            if number in step.refusals and (not self.plan.many or build_key(self.plan, row) in posted)
        ]

    def _choose_rows(self, step: Step, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the indices of the step result's rows for the answer: those with a posted key, or its only row."""
        extracted = step.extraction.rows
        if not self.plan.many:
            return list(range(len(extracted)))
        posted = {build_key(self.plan, row) for row in rows}
        return [number for number, row in enumerate(extracted) if build_key(self.plan, row) in posted]

    async def _fetch_stored(
        self, connection: Connection, org_id: str, row_ids: Sequence[str | None]
    ) -> dict[str | None, bytes]:
        ids = [row_id for row_id in row_ids if row_id]
        if not ids:
            return {}
        names = list_document_columns(self.plan, list_columns(self.plan))
        (answers,) = await run_as_tenant(connection, org_id, [Statement(self.rows_sql, {"ids": ids})])
        return {(row_id or b"").decode(): join_row_json(names, texts) for row_id, *texts in answers}

    async def _compare_claims(
        self, connection: Connection, step: Step, rows: Sequence[Mapping[str, Any]]
    ) -> list[Reason]:
        """Return a reason for each posted value that differs from the step result's."""
        extracted = {build_key(self.plan, row): number for number, row in enumerate(step.extraction.rows)}
        notes = []
        for row in rows:
            key = build_key(self.plan, row)
            number = extracted.get(key, 0 if not self.plan.many and extracted else None)
            if number is None:
                message = "the step result has no row of the posted key"
                notes.append(Reason("claim_differs", None, message, shorten_json([str(part) for part in key])))
            else:
                notes += await self._compare_row(connection, step, step.extraction.rows[number], row)
        return notes

    async def _compare_row(
        self, connection: Connection, step: Step, extracted: Row, posted: Mapping[str, Any]
    ) -> list[Reason]:
        differing = [
            column.name
            for column in self.plan.fields
            if extracted[column.name] is not COPIED
            and not _is_equal(column, posted.get(column.name), extracted[column.name])
        ]
        if any(value is COPIED for value in extracted.values()):
            values = {
                column.name: wrap_document(posted.get(column.name)) for column in self.fold.fetch_plan.copied_fields
            }
            row = await fetch_row(connection, self.compare_sql, {**values, "Step": step.id})
            # There is no row where the step result was deleted meanwhile.
            differing += [name for name, differs in zip(values, row or (), strict=False) if differs]
        message = "the posted value is not the one the step result has"
        return [Reason("claim_differs", name, message) for name in differing]


def _check_sources(row: Mapping[str, Any], submission_id: str, run_id: str) -> None:
    """Raise SourceRefused when a row names another submission or run than its step result has."""
    if row.get("source_submission_id") not in (None, submission_id):
        raise SourceRefused("source_submission_id")
    if row.get("source_pipeline_run_id") not in (None, run_id):
        raise SourceRefused("source_pipeline_run_id")


def _is_equal(column: Field, posted: Any, extracted: Any) -> bool:
    """Return whether a posted value is the step result's; documents are compared as Postgres would store them.

    JavaScript moves keys that are numbers to the front.
    """
    if column.type.name != "jsonb" or posted is None or extracted is None or posted == extracted:
        return bool(posted == extracted)
    try:
        return _spell_stored(posted) == _spell_stored(extracted)
    except ValueError:  # nested too deeply to be read
        return False


def _spell_stored(document: str | bytes) -> bytes:
    return exact_json.dumps(exact_json.convert_to_stored(exact_json.loads(document)))
