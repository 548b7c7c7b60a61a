"""Build the SQL that reads the documents that Postgres itself copies from step results to rows."""

from __future__ import annotations

from collections.abc import Iterable

from engine.plan import Field
from engine.rows.fetch_plan import FetchPlan
from engine.sql.json_paths import build_detoast_subquery, build_first_truthy, build_operation_case


def build_copied_value(fetch_plan: FetchPlan, column: Field) -> str:
    """Build the expression of a copied document; it reads the step result `source` and the subquery `document`."""
    values = {
        operation: build_first_truthy(fetch_plan.find_alternatives(operation, column))
        for operation in fetch_plan.plan.operations
    }
    return build_operation_case(values)


def collect_copied_roots(fetch_plan: FetchPlan, columns: Iterable[Field]) -> set[str]:
    """Return the roots that the subquery `document` needs for copied documents of `columns`."""
    return {
        steps[0]
        for column in columns
        for operation in fetch_plan.plan.operations
        for steps in fetch_plan.find_alternatives(operation, column)
    }


def build_copied_subquery(fetch_plan: FetchPlan, column: Field, step_id: str) -> str:
    """Build a subquery for a copied document, its column `document`; `step_id` is SQL for the id of the step result."""
    return (
        f"(select {build_copied_value(fetch_plan, column)} as document from step_results as source"
        f" cross join lateral {build_detoast_subquery(collect_copied_roots(fetch_plan, [column]))} as document"
        f" where source.id = {step_id} offset 0)"
    )
