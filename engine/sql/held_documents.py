"""Build the SQL that reads held documents, which Postgres copies itself, from step results (engine/rows/reading.py)."""

from __future__ import annotations

from collections.abc import Iterable

from engine.plan import Field
from engine.rows.reading import Reading
from engine.sql.json_paths import build_detoast_subquery, build_first_truthy, build_operation_case


def build_held_value(reading: Reading, column: Field) -> str:
    """Build the expression of a held document; it reads the step result `source` and the subquery `document`."""
    values = {
        operation: build_first_truthy(reading.find_alternatives(operation, column))
        for operation in reading.plan.operations
    }
    return build_operation_case(values)


def collect_held_roots(reading: Reading, columns: Iterable[Field]) -> set[str]:
    """Return the roots that the subquery `document` needs for held documents of `columns`."""
    return {
        steps[0]
        for column in columns
        for operation in reading.plan.operations
        for steps in reading.find_alternatives(operation, column)
    }


def build_held_subquery(reading: Reading, column: Field, step_id: str) -> str:
    """Build a subquery for a held document, its column `document`; `step_id` is SQL for the id of the step result."""
    return (
        f"(select {build_held_value(reading, column)} as document from step_results as source"
        f" cross join lateral {build_detoast_subquery(collect_held_roots(reading, [column]))} as document"
        f" where source.id = {step_id} offset 0)"
    )
