"""Build the statements that find the step results of a plan, for backfill, repair and coverage.

"Found" means `status = 'succeeded' and result_status = 'found'`, written as in the partial indexes of migration 020.
The organisation of a step result is that of its run, which migration 021 enforces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.sql.copied_documents import build_copied_value, collect_copied_roots
from engine.sql.identifiers import Statement
from engine.sql.json_paths import build_detoast_subquery, build_path_value

#: The condition that a row of step_results, under the alias `found`, is a found step result of the plan's operations.
FOUND = "found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s)"

#: The statuses of a step that gives no row yet, but may have one: an upsert of its runner has named it.
UNFINISHED = "('queued', 'running', 'retrying')"

#: When a step result was recorded, limited to Python's years, since a `timestamptz` written by hand may be `infinity`.
RECORDED_AT = "greatest('0001-01-02 00:00+00', least('9999-12-30 00:00+00', found.recorded_at))"

#: The condition that an entry `ledger` is rejected, or has refused elements.
_HAS_REFUSALS = "(ledger.refused_count > 0 or ledger.outcome = 'rejected')"

#: The condition that the ledger has the step result as rejected, or with some of its elements refused.
_REFUSED = f"""exists (
        select from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s
            and {_HAS_REFUSALS}
    )"""

#: The step result is pending: not recorded under the present digest. It is a scalar subquery, so that the planner looks
#: up each entry by the ledger's key: with stale statistics it would choose an anti join that compares all pairs.
PENDING = """(
        select ledger.spec_digest from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s
    ) is distinct from %(digest)s"""

#: The step result is pending, for a plan of which `pending_results` has every pending step result.
QUEUED = """found.id in (
        select pending.step_result_id from pending_results as pending where pending.spec = %(spec)s
    )"""
_QUEUED_OF_ORGS = """found.id in (
        select pending.step_result_id from pending_results as pending
        where pending.spec = %(spec)s and pending.org_id = any(%(org_ids)s::uuid[])
    )"""

#: Conditions on a step result and its ledger entry, by what is asked for; `rejected` has the partly refused ones too.
_OUTCOME_CONDITIONS = {
    "found": "true",
    "rejected": _HAS_REFUSALS,
    "refused": "ledger.refused_count > 0",
}

_COMPANY_ID = (
    "(select run.company_id::text from pipeline_runs as run where run.id = wanted.pipeline_run_id) as company_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which step results of a spec to process; by default all that are pending."""

    org_ids: Sequence[str] = ()
    submissions: Sequence[str] = ()
    pipeline_run_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    step_ids: Sequence[str] = ()
    all: bool = False  # also those that the ledger has with the present digest
    rejected: bool = False  # also those recorded as rejected or partly refused
    queued: bool = False  # whether `pending_results` has every pending one; otherwise the ledger is searched
    limit: int | None = None
    #: Only step results after this time and id. The time may be text, for one that Python cannot represent.
    after: tuple[datetime | str, str] | None = None

    @property
    def has_all_pending(self) -> bool:
        """Whether the scope covers every pending step result of the spec."""
        bounds = (self.org_ids, self.submissions, self.pipeline_run_id, self.since, self.until, self.step_ids)
        return not any((*bounds, self.limit, self.after))


def build_outcome_condition(outcome: str, *, queued: bool) -> str:
    """Build the condition that a step result `found`, joined with its entry `ledger`, has `outcome`, a parameter too.

    `outcome` may also be `found`, `pending`, or `refused` for one with refused elements. `queued`: whether
    `pending_results` has every pending step result; otherwise the history is searched.
    """
    if outcome == "pending":
        return QUEUED if queued else PENDING
    return _OUTCOME_CONDITIONS.get(outcome, "ledger.outcome = %(outcome)s")


def build_plan_parameters(plan: Plan) -> dict[str, Any]:
    """Return the parameters of FOUND, PENDING and QUEUED for a plan."""
    return {"operations": list(plan.operations), "spec": plan.name, "digest": plan.digest}


def build_digest_parameters(plans: Sequence[Plan]) -> dict[str, list[str]]:
    """Return the names of specs and their present digests, as the parameters `specs` and `digests`."""
    return {"specs": [plan.name for plan in plans], "digests": [plan.digest for plan in plans]}


def build_count_statement(plan: Plan, scope: Scope) -> Statement:
    """Count the step results that a scope selects, ignoring its limit."""
    condition, parameters = _build_conditions(plan, scope)
    return Statement(f"select count(*) from step_results as found\nwhere {condition}", parameters)


def build_page_statement(plan: Plan, org_id: str, scope: Scope, limit: int) -> Statement:
    """Select id and time of the next step results that a scope selects in an organisation, without their documents.

    For each operation an index is read from `scope.after` on. It has them in order only if operation and organisation
    are each compared with one value.
    """
    condition, parameters = _build_conditions(plan, scope)
    parts = []
    for number, operation in enumerate(plan.operations):
        parameters[f"operation_{number}"] = operation
        parts.append(f"""(
    select found.id, found.recorded_at from step_results as found
    where {condition}
        and found.operation_id = %(operation_{number})s and found.org_id = %(org_id)s::uuid
    order by found.recorded_at, found.id
    limit %(limit)s
)""")
    text = f"""
select id::text, recorded_at::text from (
{" union all ".join(parts)}
) as page
order by page.recorded_at, page.id
limit %(limit)s
"""
    return Statement(text, {**parameters, "org_id": org_id, "limit": limit})


def build_organisation_counts_statement(plan: Plan, scope: Scope) -> Statement:
    """Count the step results that a scope selects, by organisation."""
    condition, parameters = _build_conditions(plan, scope)
    text = f"select found.org_id::text, count(*) from step_results as found\nwhere {condition}\ngroup by 1 order by 1"
    return Statement(text, parameters)


def build_step_results_statement(fetch_plan: FetchPlan, scope: Scope) -> Statement:
    """Select the step results that a scope selects, oldest first, with the parts that a plan reads.

    Columns: id, org_id, submission_id, pipeline_run_id, step_position, operation_id, recorded_at, version, then the
    values of `fetch_plan.parts` as one JSON array text, the run's company (null unless some path reads it), and for
    each document that Postgres copies itself whether it is present.

    Step results are selected before their documents are read, one by one and in order: `offset 0` keeps the planner
    from reading documents of step results that are not selected.
    """
    condition, parameters = _build_conditions(fetch_plan.plan, scope)
    parts = ", ".join(map(build_path_value, fetch_plan.parts))
    present = [f"{build_copied_value(fetch_plan, column)} is not null" for column in fetch_plan.copied_fields]
    roots = collect_copied_roots(fetch_plan, fetch_plan.copied_fields) | {steps[0] for steps in fetch_plan.parts}
    company = _COMPANY_ID if fetch_plan.reads_company else "null::text as company_id"
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
    select {", ".join([f"array_to_json(array[{parts}]::jsonb[])::text", company, *present])}
    from step_results as source
    cross join lateral {build_detoast_subquery(roots)} as document
    where source.id = wanted.id
    offset 0
) as content
"""
    return Statement(text, {**parameters, "limit": scope.limit})


def _build_conditions(plan: Plan, scope: Scope) -> tuple[str, dict[str, Any]]:
    parameters, conditions = build_plan_parameters(plan), [FOUND]
    for name, value, condition in (
        ("org_ids", list(scope.org_ids) or None, "found.org_id = any(%(org_ids)s::uuid[])"),
        ("submissions", list(scope.submissions) or None, "found.submission_id = any(%(submissions)s::uuid[])"),
        ("run_id", scope.pipeline_run_id, "found.pipeline_run_id = %(run_id)s::uuid"),
        # In subqueries, so that the planner does not see how many they are: see `lineage.READ_UNITS_SQL`.
        ("step_ids", list(scope.step_ids) or None, "found.id = any((select %(step_ids)s::uuid[])::uuid[])"),
        ("since", scope.since, "found.recorded_at >= %(since)s"),
        ("until", scope.until, "found.recorded_at < %(until)s"),
    ):
        if value is not None:
            conditions.append(condition)
            parameters[name] = value
    if scope.after is not None:
        # Looked up, since Python's time is limited to its years; the step result may be deleted by now.
        time = "select recorded_at from step_results where id = %(after_id)s::uuid"
        recorded = f"coalesce(({time}), %(after_time)s::timestamptz)"
        conditions.append(f"(found.recorded_at, found.id) > ({recorded}, %(after_id)s::uuid)")
        parameters["after_time"], parameters["after_id"] = scope.after
    if not scope.all:
        pending = (_QUEUED_OF_ORGS if scope.org_ids else QUEUED) if scope.queued and not scope.rejected else PENDING
        conditions.append(f"({pending} or {_REFUSED})" if scope.rejected else pending)
    return "\n    and ".join(conditions), parameters
