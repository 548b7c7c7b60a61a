"""Build the query of one table from its parameters: filters, `limit`, `offset` and `fields`.

Filter values pass the same normalizers and casts as stored values, so that a caller finds a row by the value it was
written with. The API, the command line and the typed functions share this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.columns import list_columns
from engine.errors import EngineError, suggest_name
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, convert_value

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_OFFSET = 2**31 - 1
#: The parameters of a query that are no filters.
OPTIONS = ("limit", "offset", "fields")


class QueryRejected(EngineError):
    """Raised for an invalid query. `reasons` has one entry per invalid parameter."""

    def __init__(self, reasons: list[Reason], hint: str) -> None:
        super().__init__("; ".join(reason.sentence for reason in reasons), hint=hint)
        self.reasons = reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of one table. `filters`: column -> a value, or a list of alternatives."""

    org_id: str | None  # None: every organisation, which the API never allows
    filters: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str]
    limit: int
    offset: int = 0
    after: tuple[str, str] | None = None  # (created_at, id) of the last row of the page before

    @property
    def tenant(self) -> str:
        """The organisation of a query that is limited to one."""
        assert self.org_id is not None
        return self.org_id


def build_query(
    plan: Plan, org_id: str | None, parameters: Mapping[str, Any], after: tuple[str, str] | None = None
) -> Query:
    """Build the query for the rows of `org_id`. A filter is a value or a list of alternatives; null is no filter.

    Raises QueryRejected naming every parameter that is unknown, out of range, or no value of its column.
    """
    reasons: list[Reason] = []
    known = (*(column.name for column in plan.filters), *OPTIONS)
    reasons += [
        Reason("unknown_field", name, f"unknown field `{name}`; {suggest_name(name, known)}")
        for name in parameters
        if name not in known
    ]
    query = Query(
        org_id=org_id,
        filters=_convert_filters(plan, parameters, reasons),
        columns=_select_columns(plan, parameters.get("fields"), reasons),
        limit=_read_number(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, reasons),
        offset=_read_number(parameters, "offset", 0, 0, MAX_OFFSET, reasons),
        after=after,
    )
    if reasons:
        raise QueryRejected(reasons, "known fields: " + ", ".join(f"`{name}`" for name in known))
    return query


def _convert_filters(plan: Plan, parameters: Mapping[str, Any], reasons: list[Reason]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for column in plan.filters:
        value = parameters.get(column.name)
        if value is None:
            continue
        try:
            filters[column.name] = (
                [_convert_filter(column, part) for part in value]
                if isinstance(value, list)
                else _convert_filter(column, value)
            )
        except Rejected as rejected:
            reasons.append(rejected.reason)
    return filters


def _convert_filter(column: Field, value: Any) -> Any:
    converted = convert_value(replace(column, required=False), value)  # only rows have required fields
    if converted is None:
        message = f"`{column.name}` is blank: a filter needs a value"
        raise Rejected(Reason("blank_filter", column.name, message))
    return converted


def _select_columns(plan: Plan, wanted: Any, reasons: list[Reason]) -> tuple[str, ...]:
    known = list_columns(plan)
    if wanted is None:
        return known
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        reasons.append(Reason("wrong_type", "fields", "`fields` takes a list of column names"))
        return known
    reasons += [
        Reason("unknown_column", "fields", f"unknown column `{name}`; {suggest_name(name, known)}")
        for name in wanted
        if name not in known
    ]
    return tuple(name for name in known if name in wanted)


def _read_number(
    parameters: Mapping[str, Any], name: str, default: int, low: int, high: int, reasons: list[Reason]
) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        reasons.append(
            Reason("out_of_range", name, f"`{name}` is a whole number from {low} to {high}", str(value)[:40])
        )
        return default
    return int(value)  # `-0` came as a number that remembers its spelling
