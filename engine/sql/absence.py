"""Build the statements that find step results which could have given a key a row but did not, with their orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.plan import Plan
from engine.rows.fetch_plan import FetchPlan
from engine.sql.explain import build_key_conditions
from engine.sql.identifiers import Statement, quote_table
from engine.sql.json_paths import build_detoast_subquery, build_path_value
from engine.sql.step_results import RECORDED_AT, build_plan_parameters

#: The operation of a step: from its output or, before there is one, from the steps of its run.
_OPERATION = """coalesce(found.operation_id, (
        select step ->> 'operation_id' from jsonb_array_elements(
            case when jsonb_typeof(run.blueprint_snapshot -> 'steps') = 'array'
                 then run.blueprint_snapshot -> 'steps' else '[]' end
        ) as step
        where step ->> 'position' = found.step_position::text limit 1
    ))"""

#: The input of a step: its own or, before it began, that of its run's entity (if the submission has several inputs) or
#: of the submission; without `parallel_raw_response`, which earlier versions passed on.
_INPUT = """case when jsonb_typeof(given.input) = 'object' then given.input - 'parallel_raw_response' end"""


#: The condition that a step result gave rows, and none of its elements was refused.
_GAVE_ALL_ROWS = """coalesce(
            ledger.spec_digest = %(digest)s and ledger.outcome in ('written', 'unchanged', 'superseded')
            and ledger.refused_count = 0{}, false)"""


def build_candidates_statement(plan: Plan, key_reading: FetchPlan, org_id: str, limit: int) -> Statement:
    """Select step results of the plan's operations that gave no row, or rows for some elements only, newest first.

    Columns: those of `_build_statement`.
    """
    gave_all_rows = _GAVE_ALL_ROWS.format(" and ledger.row_count > 0" if plan.many else "")
    return _build_statement(plan, key_reading, f"not {gave_all_rows}", {"org_id": org_id, "limit": limit})


def build_answers_statement(
    plan: Plan, key_reading: FetchPlan, org_id: str, parent: Mapping[str, Any], limit: int
) -> Statement:
    """Select the step results of stored rows that have the values `parent`, if no element of them was refused.

    Columns: those of `_build_statement`.
    """
    conditions, values = build_key_conditions(plan, parent)
    condition = f"""{_GAVE_ALL_ROWS.format("")} and found.id in (
            select stored.source_step_result_id from {quote_table(plan.table)} as stored where {conditions}
        )"""
    return _build_statement(plan, key_reading, condition, {**values, "org_id": org_id, "limit": limit})


def _build_statement(plan: Plan, key_reading: FetchPlan, condition: str, parameters: Mapping[str, Any]) -> Statement:
    """Select step results of the plan's operations with their ledger entries and orders, newest first.

    Columns: id, status, result_status, operation, recorded_at, submission_id, pipeline_run_id, step_position,
    error_message, the error's code, the run's status, whether the ledger has it at present, outcome, reasons, elements,
    refused; order id, status, provider, provider_run_id, requested_at, the run's company; then the values of
    `key_reading.parts` as one JSON array text, and the step's input as JSON text.
    """
    parts = ", ".join(map(build_path_value, key_reading.parts))
    roots = {steps[0] for steps in key_reading.parts}
    text = f"""
select wanted.*, content.*
from (
    select found.id::text, found.status::text, found.result_status, operation.id as operation_id,
        {RECORDED_AT} as recorded_at, found.submission_id::text, found.pipeline_run_id::text, found.step_position,
        found.error_message, found.error_details ->> 'code' as error_code, run.status::text as run_status,
        ledger.spec_digest is not distinct from %(digest)s as is_recorded, ledger.outcome, ledger.reasons,
        ledger.element_count, ledger.refused_count, purchase.id::text as order_id,
        purchase.status as order_status, purchase.provider, purchase.provider_run_id,
        purchase.requested_at, run.company_id::text
    from step_results as found
    join pipeline_runs as run on run.id = found.pipeline_run_id
    left join step_persistence as ledger on ledger.step_result_id = found.id and ledger.spec = %(spec)s
    left join research_orders as purchase on purchase.org_id = found.org_id and purchase.id = found.order_id
    cross join lateral (select {_OPERATION} as id) as operation
    where found.org_id = %(org_id)s::uuid and operation.id = any(%(operations)s)
        and {condition}
    order by found.recorded_at desc, found.id desc
    limit %(limit)s
) as wanted
cross join lateral (
    select array_to_json(array[{parts}]::jsonb[])::text, ({_INPUT})::text
    from step_results as source
    join submissions as submission on submission.id = source.submission_id
    join pipeline_runs as run on run.id = source.pipeline_run_id
    cross join lateral (select coalesce(
        source.input_payload, run.blueprint_snapshot #> '{{entity,input}}', submission.input_payload
    ) as input) as given
    cross join lateral {build_detoast_subquery(roots)} as document
    where source.id = wanted.id::uuid
    offset 0
) as content
"""
    return Statement(text, {**parameters, **build_plan_parameters(plan)})
