"""The order of a query's answer: one or two columns, each up or down, then `id` in the direction of the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from engine.columns import QueryColumn, list_query_columns
from engine.errors import suggest_name
from engine.plan import Plan
from engine.rows.extract import Reason

MAX_COLUMNS: Final = 2
#: Types that have no order a caller could want.
_UNORDERED: Final = ("text[]", "jsonb")


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """One column of an order. Nulls stand where a b-tree has them: last when rising, first when falling."""

    column: QueryColumn
    descending: bool

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def text(self) -> str:
        """The column as callers write it: `-updated_at` for falling."""
        return f"-{self.name}" if self.descending else self.name


def list_order_columns(plan: Plan) -> tuple[str, ...]:
    """Return the names of the columns that an answer may be ordered by."""
    return tuple(name for name, column in list_query_columns(plan).items() if column.type.name not in _UNORDERED)


def build_default_order(plan: Plan) -> tuple[OrderColumn, ...]:
    """Return the order of a query that names none: newest first."""
    return (OrderColumn(list_query_columns(plan)["created_at"], descending=True),)


def parse_order(plan: Plan, value: Any, reasons: list[Reason]) -> tuple[OrderColumn, ...]:
    """Return the order that a caller names, such as `["-updated_at", "company_domain"]`; null is newest first.

    Adds to `reasons` each word that names no column to order by.
    """
    if value is None:
        return build_default_order(plan)
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        reasons.append(Reason("wrong_type", "order", '`order` takes a list of columns, such as `["-created_at"]`'))
        return build_default_order(plan)
    known = list_order_columns(plan)
    unknown = [word for word in words if word.removeprefix("-") not in known]
    reasons += [
        Reason("unknown_column", "order", f"cannot order by `{word[:100]}`; {suggest_name(word.lstrip('-+'), known)}")
        for word in unknown[:20]
    ]
    names = [word.removeprefix("-") for word in words]
    if not unknown and len(names) > MAX_COLUMNS:
        reasons.append(Reason("out_of_range", "order", f"`order` takes one or two columns, not {len(names)}"))
    elif not unknown and len(set(names)) < len(names):
        reasons.append(Reason("out_of_range", "order", f"`order` names `{names[0]}` twice"))
    if reasons:
        return build_default_order(plan)
    columns = list_query_columns(plan)
    return tuple(OrderColumn(columns[word.removeprefix("-")], word.startswith("-")) for word in words)
