"""Plan -> the query that finds its step results.

In: a Plan's Reading and a Scope. Out: a Statement. It must not know who asks: backfill, repair and coverage find alike.

Found means `status = 'succeeded' and result_status = 'found'`, spelled as the partial indexes of migration 020 spell it.
The organisation is the run's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.plan import Plan
from engine.sql.stored import Reading, by_operation, detoast, first_truthy, value
from engine.sql.text import Statement

RECORDED_AT = "coalesce(found.finished_at, found.updated_at, found.created_at)"
_FOUND = "found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which step results of a spec are meant. Everything None or empty: all that are pending."""

    org_id: str | None = None
    submissions: Sequence[str] = ()
    pipeline_run_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    all: bool = False  # also those the ledger knows under the present digest
    limit: int | None = None


def count(plan: Plan, scope: Scope) -> Statement:
    """How many step results the scope holds, its limit aside."""
    condition, parameters = _where(plan, scope)
    return Statement(f"select count(*) from {_FROM}\nwhere {condition}", parameters)


def step_results(reading: Reading, scope: Scope) -> Statement:
    """The step results of the scope, oldest first.

    Columns: id, org_id (the run's), submission_id, pipeline_run_id, step_position, operation_id, recorded_at, then the
    values of `reading.parts` as one JSON array text, then for each held field whether it is there.
    """
    condition, parameters = _where(reading.plan, scope)
    limit = "limit %(limit)s" if scope.limit is not None else ""
    parts = [value(steps, "document") for steps in reading.parts]
    present = [f"{_held(reading, index)} is not null" for index in range(len(reading.held))]
    columns = ",\n    ".join([f"jsonb_build_array({', '.join(parts)})::text", *present])
    text = f"""
select found.id, run.org_id, found.submission_id, found.pipeline_run_id, found.step_position, found.operation_id,
    {RECORDED_AT} as recorded_at,
    {columns}
from {_FROM}
cross join lateral {detoast("found", _roots(reading))} as document
where {condition}
order by {RECORDED_AT}, found.id
{limit}
"""
    return Statement(text, {**parameters, "limit": scope.limit})


_FROM = "step_results as found join pipeline_runs as run on run.id = found.pipeline_run_id"


def _held(reading: Reading, index: int) -> str:
    field = reading.held[index]
    return by_operation(
        reading,
        {name: first_truthy(reading.alternatives(name, field), "document") for name in reading.plan.operations},
        "found.operation_id",
    )


def _roots(reading: Reading) -> set[str]:
    held = {
        steps[0]
        for field in reading.held
        for operation in reading.plan.operations
        for steps in reading.alternatives(operation, field)
    }
    return held | {steps[0] for steps in reading.parts}


def _where(plan: Plan, scope: Scope) -> tuple[str, dict[str, Any]]:
    parameters: dict[str, Any] = {"operations": list(plan.operations)}
    conditions = [_FOUND]
    for name, value_, condition in (
        ("org_id", scope.org_id, "run.org_id = %(org_id)s::uuid"),
        ("submissions", list(scope.submissions) or None, "found.submission_id = any(%(submissions)s::uuid[])"),
        ("run_id", scope.pipeline_run_id, "found.pipeline_run_id = %(run_id)s::uuid"),
        ("since", scope.since, f"{RECORDED_AT} >= %(since)s"),
        ("until", scope.until, f"{RECORDED_AT} < %(until)s"),
    ):
        if value_ is not None:
            conditions.append(condition)
            parameters[name] = value_
    if not scope.all:
        conditions.append(_PENDING)
        parameters |= {"spec": plan.name, "digest": plan.digest}
    return "\n    and ".join(conditions), parameters


_PENDING = """not exists (
        select from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s and ledger.spec_digest = %(digest)s
    )"""
