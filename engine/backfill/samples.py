"""Evaluate the paths of a spec on the newest step results of an organisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.plan import Plan
from engine.rows.column_statistics import ColumnStatistics, count_values_by_column
from engine.rows.document import Run, build_from_payload
from engine.rows.explain import Trace, trace_fields
from engine.sql.samples import build_newest_statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.round_trip import TextRow
from engine.store.tenant import run_as_tenant
from engine.values import exact_json


@dataclass(frozen=True, slots=True)
class Samples:
    """The number of step results that were read, and the statistics of each column over them."""

    step_results: int
    columns: list[ColumnStatistics]


async def sample_columns(connection: Connection, plan: Plan, org_id: str, limit: int) -> Samples:
    """Evaluate every path of the plan on an organisation's newest `limit` step results."""
    async with wrap_errors():
        (rows,) = await run_as_tenant(connection, org_id, [build_newest_statement(plan, org_id, limit)])
    return Samples(len(rows), count_values_by_column(plan, _trace_steps(plan, org_id, rows)))


def _trace_steps(plan: Plan, org_id: str, rows: list[TextRow]) -> Iterator[tuple[str, Trace]]:
    for row in rows:
        step_id, submission_id, run_id, position, operation, company_id = (text and text.decode() for text in row[:6])
        run = Run(
            org_id=org_id,
            company_id=company_id or None,
            submission_id=submission_id or None,
            pipeline_run_id=run_id or None,
            step_position=int(position or 0),
        )
        document = build_from_payload(_read_json(row[6]), run, _read_json(row[7]))
        yield from ((str(step_id), trace) for trace in trace_fields(plan, str(operation), document))


def _read_json(text: bytes | None) -> Any:
    return None if text is None else exact_json.loads(text)
