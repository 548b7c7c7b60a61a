"""Rows -> JSON as people and other programs see them.

In: admitted values. Out: JSON text in which every number keeps its text. It must not know where rows go.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from engine.plan import Plan
from engine.rows.extract import Extraction, Row


def dumps(value: Any, *, indent: bool = False) -> bytes:
    """Write `value`, which may hold the values of `rows`, as JSON."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 if indent else None)


def rows(plan: Plan, extracted: tuple[Row, ...]) -> list[dict[str, Any]]:
    """The rows with each document as JSON of its own rather than as text, to be given to `dumps`."""
    documents = {field.name for field in plan.fields if field.type.name == "jsonb"}
    return [
        {
            name: orjson.Fragment(value) if name in documents and isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in extracted
    ]


def extraction(plan: Plan, found: Extraction) -> dict[str, Any]:
    """`{"outcome", "rows", "reasons"}`, to be given to `dumps`."""
    return {
        "outcome": found.outcome,
        "rows": rows(plan, found.rows),
        "reasons": [reason.as_dict() for reason in found.reasons],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"`{type(value).__name__}` is no column value")
