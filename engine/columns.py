"""Every column of a plan's table: its fields and the columns the engine provides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.plan import Field, Plan
from engine.provided_columns import LEADING_COLUMNS, PROVIDED_COLUMNS, TRAILING_COLUMNS
from engine.values.column_types import TYPES, ColumnType


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryColumn:
    """A column that a query may filter and order by. `field` is None for a provided column."""

    name: str
    type: ColumnType
    nullable: bool
    field: Field | None = None


def list_columns(plan: Plan) -> tuple[str, ...]:
    """Return the names of all columns of the plan's table, in the order of API answers."""
    leading, trailing = (tuple(column.name for column in columns) for columns in (LEADING_COLUMNS, TRAILING_COLUMNS))
    return (*leading, *(column.name for column in plan.fields), *trailing)


def is_document_column(plan: Plan, name: str) -> bool:
    """Return whether the column holds JSON documents, which API answers include as stored, without parsing them."""
    return any(column.name == name and column.type.name == "jsonb" for column in plan.fields)


def list_document_columns(plan: Plan, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of `names` that hold JSON documents, in the given order."""
    return tuple(name for name in names if is_document_column(plan, name))


def list_query_columns(plan: Plan) -> Mapping[str, QueryColumn]:
    """Return the columns a query may filter by, by name: the declared filters, then the provided columns.

    `org_id` is not among them: it follows from who calls.
    """
    declared = [QueryColumn(name=column.name, type=column.type, nullable=True, field=column) for column in plan.filters]
    provided = [
        QueryColumn(name=column.name, type=TYPES[column.type], nullable=column.nullable)
        for column in PROVIDED_COLUMNS.values()
        if column.name != "org_id"
    ]
    return {column.name: column for column in (*declared, *provided)}
