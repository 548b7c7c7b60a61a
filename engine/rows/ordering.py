"""The order of a query's rows: one or two columns, ascending or descending, then `id` in the direction of the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.columns import QueryColumn, list_query_columns
from engine.errors import suggest_name
from engine.plan import Plan
from engine.rows.extract import Reason

MAX_COLUMNS: Final = 2
#: Types of columns by which rows cannot be ordered.
_UNORDERED: Final = ("text[]", "jsonb")


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """One column of an order. Nulls sort as in a btree: last when ascending, first when descending."""

    column: QueryColumn
    descending: bool

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def text(self) -> str:
        """The column as callers write it; `-` before the name means descending: `-updated_at`."""
        return f"-{self.name}" if self.descending else self.name


def list_order_columns(plan: Plan) -> tuple[str, ...]:
    """Return the names of the columns by which rows may be ordered."""
    return tuple(name for name, column in list_query_columns(plan).items() if column.type.name not in _UNORDERED)


def build_default_order(plan: Plan) -> tuple[OrderColumn, ...]:
    """Return the order of a query that gives none: newest `created_at` first."""
    return (OrderColumn(list_query_columns(plan)["created_at"], descending=True),)


def describe_unfiltered(plan: Plan, name: str) -> str:
    """Return why rows cannot be filtered or ordered by a column of the spec; "" for any other name."""
    if name in list_query_columns(plan) or all(column.name != name for column in plan.fields):
        return ""
    if plan.field(name).type.name == "jsonb":
        return f"the column `{name}` is `jsonb`, which has no order and no filters: give the part of it its own column"
    return f"the column `{name}` has no `filter: true` in `{plan.file}`"


def _describe_unknown(plan: Plan, word: str, known: Sequence[str]) -> str:
    name = word.lstrip("-+")
    return f"cannot order by `{word[:100]}`; {describe_unfiltered(plan, name) or suggest_name(name, known)}"


def parse_order(plan: Plan, value: Any, reasons: list[Reason]) -> tuple[OrderColumn, ...]:
    """Parse the order that a caller gives, such as `["-updated_at", "company_domain"]`; null means newest first.

    Adds a reason to `reasons` for each name by which rows cannot be ordered.
    """
    if value is None:
        return build_default_order(plan)
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        reasons.append(Reason("wrong_type", "order", '`order` takes a list of columns, such as `["-created_at"]`'))
        return build_default_order(plan)
    known = list_order_columns(plan)
    unknown = [word for word in words if word.removeprefix("-") not in known]
    reasons += [Reason("unknown_column", "order", _describe_unknown(plan, word, known)) for word in unknown[:20]]
    names = [word.removeprefix("-") for word in words]
    if not unknown and len(names) > MAX_COLUMNS:
        reasons.append(Reason("out_of_range", "order", f"`order` takes one or two columns, not {len(names)}"))
    elif not unknown and len(set(names)) < len(names):
        reasons.append(Reason("out_of_range", "order", f"`order` names `{names[0]}` twice"))
    if reasons:
        return build_default_order(plan)
    columns = list_query_columns(plan)
    return tuple(OrderColumn(columns[word.removeprefix("-")], word.startswith("-")) for word in words)
