"""The filters of a query: which operators each column takes, and how filters are converted to conditions.

Values of `eq`, `in` and the comparisons go through the column's normalizers and cast, so that a caller finds a row by
the value it was written with. `prefix` and `contains` take a part of a value, which is not normalized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from engine.columns import QueryColumn, list_query_columns
from engine.errors import suggest_name
from engine.plan import Plan
from engine.rows.extract import Reason, Rejected, convert_value
from engine.spec.enums import OnInvalid
from engine.values.column_types import TYPES, CastError, shorten_json
from engine.values.exact_json import Json

MAX_VALUES: Final = 1000  # in the list of one `in`


class Operator(StrEnum):
    """The operators of a filter, as callers write them."""

    EQ = "eq"
    IN = "in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    PREFIX = "prefix"
    CONTAINS = "contains"
    IS = "is"


NOT_NULL: Final = "not null"
_EQUAL: Final = (Operator.EQ, Operator.IN)
_COMPARED: Final = (*_EQUAL, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
_BY_TYPE: Final[Mapping[str, tuple[Operator, ...]]] = {
    "text": (*_COMPARED, Operator.PREFIX, Operator.CONTAINS, Operator.IS),
    "text[]": (Operator.CONTAINS, Operator.IS),
    "boolean": (*_EQUAL, Operator.IS),
    "jsonb": (),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on a column. `value` is a list for `in`; for `is` it is True (null) or False (not null)."""

    column: str
    operator: Operator
    value: Any


def list_operators(column: QueryColumn) -> tuple[Operator, ...]:
    """Return the operators that a column of this type takes."""
    return _BY_TYPE.get(column.type.name, (*_COMPARED, Operator.IS))


def convert_filters(plan: Plan, parameters: Mapping[str, Any], reasons: list[Reason]) -> tuple[Condition, ...]:
    """Convert the filters among a query's `parameters` to conditions, all of which a row has to meet.

    Adds a reason to `reasons` for each invalid filter.
    """
    conditions: list[Condition] = []
    for column in list_query_columns(plan).values():
        if column.name not in parameters:
            continue
        try:
            conditions += _convert_filter(column, parameters[column.name])
        except Rejected as rejected:
            reasons += rejected.reasons
    return tuple(conditions)


def _convert_filter(column: QueryColumn, value: Json) -> Iterator[Condition]:
    if value is None:
        message = (
            f"`{column.name}` is null, which is no filter: leave it out for every row, or write"
            ' `{"is": null}` for the rows without a value'
        )
        raise Rejected(Reason("null_filter", column.name, message))
    if isinstance(value, dict):
        if not value:
            raise Rejected(Reason("unknown_operator", column.name, f"no operator; {_name_operators(column)}"))
        for name, operand in value.items():
            yield _convert_operation(column, _read_operator(column, name), operand)
    elif isinstance(value, list):
        yield _convert_operation(column, _read_operator(column, Operator.IN), value)
    else:
        yield _convert_operation(column, _read_operator(column, Operator.EQ), value)


def _read_operator(column: QueryColumn, name: str) -> Operator:
    known = list_operators(column)
    if name in known:
        return Operator(name)
    if name in tuple(Operator):
        message = f"a column of type {column.type.name} does not take `{name}`; {_name_operators(column)}"
    else:
        message = f"unknown operator `{name[:100]}`; {suggest_name(name, known)}"
    raise Rejected(Reason("unknown_operator", column.name, message))


def _name_operators(column: QueryColumn) -> str:
    return f"`{column.name}` takes " + ", ".join(f"`{operator}`" for operator in list_operators(column))


def _convert_operation(column: QueryColumn, operator: Operator, operand: Json) -> Condition:
    if operator is Operator.IS:
        if operand is not None and operand != NOT_NULL:
            message = f'`is` takes null or "{NOT_NULL}"'
            raise Rejected(Reason("wrong_type", column.name, message, shorten_json(operand)))
        return Condition(column.name, operator, operand is None)
    if operator is Operator.IN:
        return Condition(column.name, operator, _convert_list(column, operand))
    if operator in (Operator.PREFIX, Operator.CONTAINS):
        return Condition(column.name, operator, _convert_part(column, operator, operand))
    return Condition(column.name, operator, _convert_value(column, operand))


def _convert_list(column: QueryColumn, operand: Json) -> list[Any]:
    if not isinstance(operand, list):
        raise Rejected(Reason("wrong_type", column.name, "`in` takes a list of values", shorten_json(operand)))
    if len(operand) > MAX_VALUES:
        message = f"it lists {len(operand)} values; list at most {MAX_VALUES}"
        raise Rejected(Reason("out_of_range", column.name, message))
    return [_convert_value(column, part) for part in operand]


def _convert_value(column: QueryColumn, value: Json) -> Any:
    if column.field is None:
        converted = _cast_value(column, value)
    else:
        # `required` and `on_invalid` are rules for stored rows: an invalid filter value is always an error.
        converted = convert_value(replace(column.field, required=False, on_invalid=OnInvalid.REJECT), value)
    if converted is None:
        raise Rejected(Reason("blank_filter", column.name, f"`{column.name}` is blank: a filter needs a value"))
    return converted


def _cast_value(column: QueryColumn, value: Json) -> Any:
    if value is None:
        return None
    try:
        return column.type.cast(value)
    except CastError as error:
        raise Rejected(Reason("wrong_type", column.name, error.message, shorten_json(value))) from error


def _convert_part(column: QueryColumn, operator: Operator, value: Json) -> str:
    """Return the operand of `prefix` or `contains`, whose letter case matters.

    Raises Rejected unless it is a text.
    """
    if not isinstance(value, str):
        raise Rejected(Reason("wrong_type", column.name, f"`{operator}` takes a string", shorten_json(value)))
    if not value:
        raise Rejected(Reason("blank_filter", column.name, f"`{operator}` is empty: it needs at least one character"))
    try:
        return str(TYPES["text"].cast(value))
    except CastError as error:
        raise Rejected(Reason("wrong_type", column.name, error.message, shorten_json(value))) from error
