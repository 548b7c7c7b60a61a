"""Plan -> the query that finds its step results.

In: a Plan's Reading and a Scope. Out: a Statement. It must not know who asks: backfill, repair and coverage find alike.

Found means `status = 'succeeded' and result_status = 'found'`, spelled as the partial indexes of migration 020 spell
it. The organisation of a step result is its run's own: migration 021 holds it to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.plan import Plan
from engine.rows.reading import Reading
from engine.sql.identifiers import Statement
from engine.sql.json_paths import by_operation, detoast, first_truthy, value

#: Of a row of step_results called `found`.
FOUND = "found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s)"

#: When it was recorded, within the years Python has: a `timestamptz` written by hand may be later, `infinity` included.
RECORDED_AT = "greatest('0001-01-02 00:00+00', least('9999-12-30 00:00+00', found.recorded_at))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which step results of a spec are meant. Everything None or empty: all that are pending."""

    org_ids: Sequence[str] = ()
    submissions: Sequence[str] = ()
    pipeline_run_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    all: bool = False  # also those the ledger knows under the present digest
    limit: int | None = None


def count(plan: Plan, scope: Scope) -> Statement:
    """How many step results the scope holds, its limit aside."""
    condition, parameters = _where(plan, scope)
    return Statement(f"select count(*) from step_results as found\nwhere {condition}", parameters)


def step_results(reading: Reading, scope: Scope) -> Statement:
    """The step results of the scope, oldest first.

    Columns: id, org_id, submission_id, pipeline_run_id, step_position, operation_id, recorded_at, version, then the
    values of `reading.parts` as one JSON array text, then for each held field whether it is there.

    What is pending is settled first, and only then are documents read: one by one, in that order (`offset 0` keeps the
    planner from reading documents of step results that turn out not to be wanted).
    """
    condition, parameters = _where(reading.plan, scope)
    parts = ", ".join(value(steps, "document") for steps in reading.parts)
    present = [f"{_held(reading, index)} is not null" for index in range(len(reading.held))]
    text = f"""
select wanted.id::text, wanted.org_id::text, wanted.submission_id::text, wanted.pipeline_run_id::text,
    wanted.step_position, wanted.operation_id, wanted.recorded_at, wanted.version, content.*
from (
    select found.id, found.org_id, found.submission_id, found.pipeline_run_id, found.step_position,
        found.operation_id, {RECORDED_AT} as recorded_at, found.xmin::text as version
    from step_results as found
    where {condition}
    order by found.recorded_at, found.id
    limit %(limit)s
) as wanted
cross join lateral (
    select {", ".join([f"array_to_json(array[{parts}]::jsonb[])::text", *present])}
    from step_results as source
    cross join lateral {detoast("source", _roots(reading))} as document
    where source.id = wanted.id
    offset 0
) as content
"""
    return Statement(text, {**parameters, "limit": scope.limit})


def _held(reading: Reading, index: int) -> str:
    field = reading.held[index]
    return by_operation(
        reading,
        {name: first_truthy(reading.alternatives(name, field), "document") for name in reading.plan.operations},
        "source.operation_id",
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
    conditions = [FOUND]
    for name, value_, condition in (
        ("org_ids", list(scope.org_ids) or None, "found.org_id = any(%(org_ids)s::uuid[])"),
        ("submissions", list(scope.submissions) or None, "found.submission_id = any(%(submissions)s::uuid[])"),
        ("run_id", scope.pipeline_run_id, "found.pipeline_run_id = %(run_id)s::uuid"),
        ("since", scope.since, "found.recorded_at >= %(since)s"),
        ("until", scope.until, "found.recorded_at < %(until)s"),
    ):
        if value_ is not None:
            conditions.append(condition)
            parameters[name] = value_
    if not scope.all:
        conditions.append(_PENDING)
        parameters |= {"spec": plan.name, "digest": plan.digest}
    return "\n    and ".join(conditions), parameters


# A scalar subquery, so that every planner looks each entry up by the ledger's key: guessing from stale statistics, an
# anti join compares all with all.
_PENDING = """(
        select ledger.spec_digest from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s
    ) is distinct from %(digest)s"""
