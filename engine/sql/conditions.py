"""Build the SQL of a query's conditions in forms that an index can serve under row level security too.

The planner uses no index for a condition whose operator is not leakproof: comparisons of `numeric`, LIKE, full text.
Comparisons of text are leakproof, so a prefix is written as a range. Text is compared under the collation "C" (by code
point), in which strings with the same prefix are adjacent on every server; the drafted indexes have that collation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.columns import QueryColumn, list_query_columns
from engine.plan import Plan
from engine.rows.filters import Condition, Operator
from engine.rows.ordering import OrderColumn
from engine.rows.query import Query
from engine.sql.identifiers import quote
from engine.sql.search import build_search_condition

_COLLATION: Final = ' collate "C"'
_COMPARISONS: Final[Mapping[Operator, str]] = {
    Operator.EQ: "=",
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LT: "<",
    Operator.LTE: "<=",
}


class _Parameters(dict[str, Any]):
    """The parameters of a statement, named in the order in which they are added."""

    def add_value(self, value: Any, type_: str) -> str:
        """Add a value and return its placeholder, cast to `type_`."""
        name = f"value_{len(self)}"
        self[name] = value
        return f"%({name})s::{type_}"


def build_conditions(plan: Plan, query: Query, *, paged: bool = True) -> tuple[str, dict[str, Any]]:
    """Return the WHERE clause of a query and its parameters; without `paged`, the cursor's position is ignored."""
    columns, parameters = list_query_columns(plan), _Parameters()
    clauses = ["true"] if query.org_id is None else [f"org_id = {parameters.add_value(query.org_id, 'uuid')}"]
    clauses += [_build_condition(columns[condition.column], condition, parameters) for condition in query.conditions]
    if query.search is not None:
        placeholder = parameters.add_value(query.search, "text")
        clauses.append(build_search_condition(plan, placeholder, are_words_stored=query.are_words_stored))
    if paged and query.after is not None:
        clauses.append(_build_position_condition(query.order, query.after, parameters))
    return "\n    and ".join(clauses), parameters


def spell_comparable(column: QueryColumn, source: str = "") -> str:
    """Return the SQL of a column for comparing and ordering: text gets the collation of its index."""
    return f"{source}{quote(column.name)}{_COLLATION if column.type.name == 'text' else ''}"


def _build_condition(column: QueryColumn, condition: Condition, parameters: _Parameters) -> str:
    name, type_ = spell_comparable(column), column.type.sql
    match condition.operator:
        case Operator.IS:
            return f"{quote(column.name)} is {'null' if condition.value else 'not null'}"
        case Operator.IN:
            return f"{name} = any({parameters.add_value(condition.value, f'{type_}[]')})"
        case Operator.PREFIX:
            return _build_prefix(name, condition.value, parameters)
        case Operator.CONTAINS if type_ == "text[]":
            return f"{parameters.add_value(condition.value, 'text')} = any({name})"
        case Operator.CONTAINS:
            return f"strpos({quote(column.name)}, {parameters.add_value(condition.value, 'text')}) > 0"
        case operator:
            return f"{name} {_COMPARISONS[operator]} {parameters.add_value(condition.value, type_)}"


def _build_prefix(name: str, prefix: str, parameters: _Parameters) -> str:
    lower = f"{name} >= {parameters.add_value(prefix, 'text')}"
    end = find_prefix_end(prefix)
    return lower if end is None else f"{lower} and {name} < {parameters.add_value(end, 'text')}"


def find_prefix_end(prefix: str) -> str | None:
    """Return the first text, by code points, after all that begin with `prefix`; None if there is none."""
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1]) + 1
        if code <= 0x10FFFF:
            return prefix[: length - 1] + chr(0xE000 if code == 0xD800 else code)  # skip surrogates: no text has them
    return None


# --- the position after which a page begins -------------------------------------------------------------------------


def _build_position_condition(
    order: Sequence[OrderColumn], after: Sequence[str | None], parameters: _Parameters
) -> str:
    """Return the condition that a row comes after a position: the values of the order's columns, then the id.

    If one comparison of row values expresses it, that is used, since an index can start there. Otherwise (columns in
    two directions, or nulls that come after the values) the condition has one alternative per column.
    """
    *values, row_id = after
    columns = [
        *(
            (spell_comparable(entry.column), entry.column.type.sql, entry.descending, entry.column.nullable)
            for entry in order
        ),
        ("id", "uuid", order[-1].descending, False),
    ]
    descending = order[-1].descending
    is_one_way = all(entry.descending == descending for entry in order)
    nulls_before = descending or not any(entry.column.nullable for entry in order)
    if is_one_way and nulls_before and None not in values:
        names = ", ".join(name for name, *_ in columns)
        places = ", ".join(
            parameters.add_value(value, type_) for value, (_, type_, *_) in zip((*values, row_id), columns, strict=True)
        )
        return f"({names}) {'<' if descending else '>'} ({places})"
    alternatives, equal = [], list[str]()
    for value, (name, type_, is_descending, nullable) in zip((*values, row_id), columns, strict=True):
        build = _build_after_null if value is None else _build_after_value
        later = build(name, type_, is_descending, nullable, value, parameters)
        if later:
            alternatives.append(" and ".join((*equal, later)))
        equal.append(f"{name} is null" if value is None else f"{name} = {parameters.add_value(value, type_)}")
    return f"({' or '.join(f'({alternative})' for alternative in alternatives)})"


def _build_after_value(
    name: str, type_: str, descending: bool, nullable: bool, value: Any, parameters: _Parameters
) -> str:
    comparison = f"{name} {'<' if descending else '>'} {parameters.add_value(value, type_)}"
    return f"({comparison} or {name} is null)" if nullable and not descending else comparison


def _build_after_null(
    name: str, type_: str, descending: bool, nullable: bool, value: Any, parameters: _Parameters
) -> str:
    return f"{name} is not null" if descending else ""  # nulls come first when descending, last when ascending
