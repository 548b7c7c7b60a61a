"""Write rows with one statement each, and return each row as it is stored afterwards.

If the source is a recorded step result, its rows are computed from that instead (engine/backfill/live.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec import json

from engine.columns import list_columns, list_document_columns
from engine.errors import EngineError
from engine.plan import Plan
from engine.provided_columns import SOURCE_COLUMNS, SOURCE_IDS
from engine.rows.extract import Reason, Rejected
from engine.rows.outcomes import Outcome
from engine.rows.units import build_unit, list_locks
from engine.sql import upsert
from engine.sql.identifiers import Statement
from engine.store.connection import Connection, RawJson
from engine.store.errors import FOREIGN_KEY_VIOLATION, RowDiscarded, StoreRefused, is_row_error, wrap_errors
from engine.store.identity import check_organisation
from engine.store.long_values import describe_long_value
from engine.store.round_trip import TextRow
from engine.store.tenant import run_as_tenant

_TRUE = b"t"  # in Postgres's text format
_MAX_ATTEMPTS = 3


class SourceRefused(EngineError):
    """The submission, run or step result that a row names does not belong to the organisation; `field` is its column.

    The caller adds the hint: over HTTP the organisation comes from a header, in Python from an argument.
    """

    def __init__(self, field: str, *, hint: str = "") -> None:
        super().__init__(f"`{field}` does not belong to this organisation", hint=hint)
        self.field = field


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it is stored after an upsert. `json` is one JSON object."""

    outcome: Outcome  # one of `outcomes.ACCEPTED`
    json: bytes


@dataclass(frozen=True)
class Upsert:
    """Writes rows of one plan; build it once, since it holds the SQL statement."""

    plan: Plan
    sql: str

    @classmethod
    def build(cls, plan: Plan) -> Upsert:
        return cls(plan, upsert.build_upsert_sql(plan))

    async def write_rows(
        self, connection: Connection, org_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[StoredRow]:
        """Write `rows` for `org_id` in one transaction. Each maps fields and source columns to converted values.

        All rows of a call have the same source. Raises UnknownOrganisation when there is no such organisation,
        SourceRefused when the source is not the organisation's, Rejected when its time is far ahead, and StoreRefused
        when the database refuses a row; then nothing is written. After StoreUnavailable the rows may have been written.
        """
        parameter_sets = [self.build_parameters(org_id, row) for row in rows]
        try:
            async with wrap_errors():
                results = await self._run_upserts(connection, org_id, parameter_sets)
        except (SourceRefused, StoreRefused) as error:
            if isinstance(error, SourceRefused) or error.sqlstate == FOREIGN_KEY_VIOLATION:
                await check_organisation(connection, org_id)
            elif long_value := describe_long_value(self.plan, rows, error.__cause__):
                error.explain_refusal(*long_value)
            raise
        return [self._build_stored_row(result) for result in results]

    async def write_valid_rows(
        self, connection: Connection, org_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[StoredRow | StoreRefused]:
        """Write the rows that the database accepts; return for each row how it is stored, or why it is refused.

        All rows are written in one transaction; only if the database refuses one, each gets its own transaction. Raises
        the same as `write_rows`, but StoreRefused only if the spec has no `rows`, so that there is but one row, or for
        an error that no row caused.
        """
        try:
            return list(await self.write_rows(connection, org_id, rows))
        except StoreRefused as error:
            if not (self.plan.many and is_row_error(error.sqlstate)):
                raise
        return [await self._write_alone(connection, org_id, row) for row in rows]

    async def _write_alone(
        self, connection: Connection, org_id: str, row: Mapping[str, Any]
    ) -> StoredRow | StoreRefused:
        try:
            (stored,) = await self.write_rows(connection, org_id, [row])
        except StoreRefused as error:
            if not is_row_error(error.sqlstate):
                raise
            return error
        return stored

    async def _run_upserts(
        self, connection: Connection, org_id: str, parameter_sets: Sequence[Mapping[str, Any]]
    ) -> list[TextRow]:
        """Run the statement once per row, and again for rows that got no outcome.

        A row gets none if its source is refused; if another transaction inserted the same key between the statement's
        snapshot and its insert (the next run sees that row and updates it); and if a trigger discards it. Raises
        RowDiscarded for a row that never gets one.
        """
        results: list[TextRow] = [()] * len(parameter_sets)
        missing = list(range(len(parameter_sets)))
        for _ in range(_MAX_ATTEMPTS):
            locks = sorted({parameter_sets[index]["Lock"] for index in missing})
            statements = [Statement(upsert.LOCK_UNIT_SQL, {"Lock": lock}) for lock in locks]
            statements += [Statement(self.sql, parameter_sets[index]) for index in missing]
            answers = (await run_as_tenant(connection, org_id, statements))[len(locks) :]
            for index, (answer,) in zip(missing, answers, strict=True):
                _check_sources(parameter_sets[index], answer)
                results[index] = answer
            missing = [index for index in missing if results[index][_OUTCOME] is None]
            if not missing:
                return results
        raise RowDiscarded

    def _build_stored_row(self, result: TextRow) -> StoredRow:
        _, _, _, _, outcome, *texts = result
        assert outcome is not None
        return StoredRow(Outcome(outcome.decode()), join_row_json(self._document_columns, texts))

    @cached_property
    def _document_columns(self) -> tuple[str, ...]:
        return list_document_columns(self.plan, list_columns(self.plan))

    def build_parameters(self, org_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Build the parameters of the statement for one row."""
        documents = {
            column.name: wrap_document(row.get(column.name))
            for column in self.plan.fields
            if column.type.name == "jsonb"
        }
        unit = build_unit(self.plan, org_id, row)
        (lock,) = list_locks(self.plan.name, [unit])
        return {
            "org_id": org_id,
            "Spec": self.plan.name,
            "Unit": unit.id,
            "Parent": unit.parent,
            "Lock": lock,
            **{name: row.get(name) for name in SOURCE_COLUMNS},
            **{column.name: row.get(column.name) for column in self.plan.fields},
            **documents,
        }


_OUTCOME = 4  # the index of the outcome in a row of the result


def _check_sources(parameters: Mapping[str, Any], result: TextRow) -> None:
    *ids_valid, time_valid = result[:_OUTCOME]
    for name, is_valid in zip(SOURCE_IDS, ids_valid, strict=True):
        if is_valid != _TRUE:
            raise SourceRefused(name)
    check_source_time(parameters["source_recorded_at"], is_valid=time_valid == _TRUE)


def check_source_time(time: datetime | None, *, is_valid: bool) -> None:
    """Raise Rejected for the time of a source that the database found to be far ahead, since its row would win."""
    if not is_valid:
        value = None if time is None else time.isoformat()
        message = "it is more than five minutes ahead of the database's clock"
        raise Rejected(Reason("future_time", "source_recorded_at", message, value))


def wrap_document(value: Any) -> Any:
    """Return the JSON text of a document as a jsonb parameter; anything else as it is."""
    return RawJson(value.encode()) if isinstance(value, str) else value


def join_row_json(names: Sequence[str], texts: Sequence[bytes | None]) -> bytes:
    """Join texts to one JSON object: the members of the first text, itself an object, then one document per name.

    The texts are joined without being decoded, since documents may be large; each is copied once.
    """
    scalars, *documents = texts
    assert scalars is not None
    pieces = [scalars[:-1]]
    for name, document in zip(names, documents, strict=True):
        key = json.encode(name)  # a path may contain any character
        pieces += (b"," if pieces != [b"{"] else b"", key, b":", document or b"null")
    return b"".join((*pieces, b"}"))
