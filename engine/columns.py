"""Every column of a plan's table: its fields and the columns the engine provides."""

from __future__ import annotations

from collections.abc import Iterable

from engine.plan import Plan

SOURCE_COLUMNS = {
    "source_submission_id": "uuid",
    "source_pipeline_run_id": "uuid",
    "source_recorded_at": "timestamptz",
}


_PROVIDED_FIRST = ("id", "org_id")


_PROVIDED_LAST = (*SOURCE_COLUMNS, "created_at", "updated_at")


def columns(plan: Plan) -> tuple[str, ...]:
    """Every column of the plan's table in the order answers show them."""
    return (*_PROVIDED_FIRST, *(item.name for item in plan.fields), *_PROVIDED_LAST)


def is_document(plan: Plan, column: str) -> bool:
    """Whether the column holds JSON of any size, which answers pass through as text."""
    return any(item.name == column and item.type.name == "jsonb" for item in plan.fields)


def documents(plan: Plan, wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted columns that hold documents, in order."""
    return tuple(name for name in wanted if is_document(plan, name))
