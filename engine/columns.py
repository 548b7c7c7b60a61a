"""Every column of a plan's table: its fields and the columns the engine provides."""

from __future__ import annotations

from collections.abc import Iterable

from engine.plan import Plan
from engine.provided_columns import LEADING_COLUMNS, TRAILING_COLUMNS


def list_columns(plan: Plan) -> tuple[str, ...]:
    """Return every column of the plan's table, in the order of API answers."""
    leading, trailing = (tuple(column.name for column in columns) for columns in (LEADING_COLUMNS, TRAILING_COLUMNS))
    return (*leading, *(column.name for column in plan.fields), *trailing)


def is_document_column(plan: Plan, name: str) -> bool:
    """Return whether the column holds JSON of any size, which answers pass through as text."""
    return any(column.name == name and column.type.name == "jsonb" for column in plan.fields)


def list_document_columns(plan: Plan, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of `names` that hold documents, in order."""
    return tuple(name for name in names if is_document_column(plan, name))
