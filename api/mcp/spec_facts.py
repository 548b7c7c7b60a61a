"""Descriptions of specs for agents: what they need to know to write a query."""

from __future__ import annotations

from typing import Any

from engine.columns import list_columns, list_query_columns
from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.filters import list_operators
from engine.rows.ordering import list_order_columns


def summarize_spec(plan: Plan) -> dict[str, Any]:
    """Return a spec's name, title, description, row name and column names."""
    return {
        "spec": plan.name,
        "title": plan.title,
        "description": plan.description,
        "row": plan.row_name,
        "columns": [column.name for column in plan.fields],
    }


def describe_spec(plan: Plan) -> dict[str, Any]:
    """Return all that a query of a spec may use: its columns with their operators, orders, search columns and key."""
    return {
        **summarize_spec(plan),
        "operations": list(plan.operations),
        "key": list(plan.conflict),
        "columns": [_describe_column(plan, name) for name in list_columns(plan)],
        "order": list(list_order_columns(plan)),
        "search": list(plan.search),
    }


def _describe_column(plan: Plan, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name}
    if name in PROVIDED_COLUMNS:
        facts["type"] = PROVIDED_COLUMNS[name].type
    else:
        column = plan.field(name)
        facts["type"] = column.type.name
        if column.description:
            facts["description"] = column.description
        if column.normalizers:
            facts["normalized"] = [normalizer.name for normalizer in column.normalizers]
        if column.type.name == "jsonb":
            facts["paths"] = f"`fields` takes paths into it, such as `{name}.key.key`"
    if asked := list_query_columns(plan).get(name):
        facts["operators"] = [operator.value for operator in list_operators(asked)]
    return facts
