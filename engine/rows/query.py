"""Build the query of one table from its parameters: filters, `order`, `q`, `fields`, `limit`, `offset` and `count`.

The API, the command line and the typed functions share this module, so that each parameter means the same in all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from engine.columns import is_document_column, list_columns, list_query_columns
from engine.errors import EngineError, suggest_name
from engine.plan import Plan
from engine.rows.extract import Reason
from engine.rows.filters import Condition, convert_filters
from engine.rows.ordering import OrderColumn, build_default_order, describe_unfiltered, parse_order
from engine.values.column_types import TYPES, CastError, shorten_json

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 2**31 - 1
MAX_FIELDS: Final = 200  # column names and paths together
MAX_SEARCH_LENGTH: Final = 1000
MAX_PATH_LENGTH: Final = 500
#: The parameters of a query other than filters.
OPTIONS: Final = ("order", "q", "fields", "limit", "offset", "count")
#: The parameters of an export other than filters; it is not divided into pages.
EXPORT_OPTIONS: Final = ("order", "q", "fields")

#: What other APIs call a parameter of a query; a filter stands beside the parameters, in no object of its own.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("sort", "sort_by", "order_by", "orderBy"), "order"),
    **dict.fromkeys(("search", "query", "text"), "q"),
    **dict.fromkeys(("select", "columns"), "fields"),
    **dict.fromkeys(("page_size", "per_page", "size", "top", "first"), "limit"),
    **dict.fromkeys(("page", "page_token", "next_cursor", "after", "starting_after"), "cursor"),
    **dict.fromkeys(("skip", "start"), "offset"),
}
_FILTER_NAMES: Final = ("filter", "filters", "where", "conditions")


class Count(StrEnum):
    """How to get the number of matching rows: by counting, or beyond 10,000 as Postgres's planner estimates it."""

    EXACT = "exact"
    ESTIMATED = "estimated"


class QueryRejected(EngineError):
    """A query is invalid; `reasons` has one entry per invalid parameter."""

    def __init__(self, reasons: list[Reason], hint: str) -> None:
        super().__init__("; ".join(reason.sentence for reason in reasons), hint=hint)
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class DocumentPath:
    """A dotted path into a document column.

    `text` is the path as the caller wrote it, which is its key in the answer.
    """

    text: str
    column: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request for one page of one table."""

    org_id: str | None  # None means the rows of all organisations, which the API never allows
    conditions: tuple[Condition, ...] = ()
    search: str | None = None
    order: tuple[OrderColumn, ...]
    columns: Sequence[str]
    paths: tuple[DocumentPath, ...] = ()
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    count: Count | None = None
    after: tuple[str | None, ...] | None = None  # the position of the last row of the page before
    are_words_stored: bool = False  # whether the table stores the words that `search` looks for

    @property
    def tenant(self) -> str:
        """The organisation of a query that is limited to one."""
        assert self.org_id is not None
        return self.org_id

    @property
    def signed_parts(self) -> list[Any]:
        """The parts of the query that a cursor's signature covers: conditions, search and order, but not the page.

        The types of the order's columns are among them: a later version of the spec may have changed one.
        """
        conditions = sorted(
            ([condition.column, condition.operator, condition.value] for condition in self.conditions),
            key=lambda condition: condition[:2],
        )
        return [conditions, self.search, [[entry.text, entry.column.type.name] for entry in self.order]]


def build_query(
    plan: Plan, org_id: str | None, parameters: Mapping[str, Any], options: Sequence[str] = OPTIONS
) -> Query:
    """Build the query for rows of `org_id`; besides filters, the caller may use the parameters named in `options`.

    Raises QueryRejected, which names every parameter that is unknown, out of range, or not a value of its column.
    """
    known = (*list_query_columns(plan), *options)
    reasons = [
        Reason("unknown_field", name, _describe_unknown(plan, name, known)) for name in parameters if name not in known
    ]
    columns, paths = _select_columns(plan, parameters.get("fields"), reasons)
    order_reasons: list[Reason] = []
    query = Query(
        org_id=org_id,
        conditions=convert_filters(plan, parameters, reasons),
        search=_read_search(plan, parameters.get("q"), reasons),
        order=parse_order(plan, parameters.get("order"), order_reasons),
        columns=columns,
        paths=paths,
        limit=_read_number(parameters, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT, reasons),
        offset=_read_number(parameters, "offset", 0, 0, MAX_OFFSET, reasons),
        count=_read_count(parameters.get("count"), reasons),
    )
    reasons += order_reasons
    if reasons:
        raise QueryRejected(reasons, _build_hint(reasons, known))
    return query


def _describe_unknown(plan: Plan, name: str, known: Sequence[str]) -> str:
    return f"unknown field `{name[:100]}`; {describe_unknown_parameter(plan, known, name) or suggest_name(name, known)}"


def describe_unknown_parameter(plan: Plan, known: Sequence[str], name: str) -> str:
    """Return why a query has no parameter `name`, or which of `known` has another name elsewhere; else ""."""
    if reason := describe_unfiltered(plan, name):
        return reason
    if "limit" not in known and name in (*OPTIONS, "cursor"):
        return "an export has every row, and no pages or count"
    if name in _FILTER_NAMES:
        column = next(iter(list_query_columns(plan)))
        return f'a filter stands beside the other fields, under the name of its column: `{{"{column}": ...}}`'
    other = _OTHER_NAMES.get(name)
    return f"did you mean `{other}`?" if other in known else ""


def build_row_query(plan: Plan, org_id: str, fields: Any) -> Query:
    """Build the query for one row of `org_id`; `fields` selects columns and paths.

    Raises QueryRejected, which names every column or path that does not exist.
    """
    reasons: list[Reason] = []
    columns, paths = _select_columns(plan, fields, reasons)
    if reasons:
        raise QueryRejected(reasons, _build_hint(reasons, ()))
    return Query(org_id=org_id, order=build_default_order(plan), columns=columns, paths=paths, limit=1)


def _build_hint(reasons: Sequence[Reason], known: Sequence[str]) -> str:
    """Return the hint of a rejected query: the known parameters if one is unknown, else what the spec lacks for `q`.

    Advice about a value is for the author of the spec, such as another normalizer; whoever queries needs another value.
    """
    if any(reason.code == "unknown_field" and reason.field not in known for reason in reasons):
        return "known fields: " + ", ".join(f"`{name}`" for name in known)
    advice = [reason.advice for reason in reasons if reason.advice and reason.field == "q"]
    return advice[0] if advice else "nothing was read; correct each parameter that the error names"


def _read_search(plan: Plan, value: Any, reasons: list[Reason]) -> str | None:
    if value is None:
        return None
    if not plan.search:
        message = f"`{plan.name}` offers no full-text search"
        reasons.append(Reason("unknown_field", "q", message, advice="name columns under `search` in its spec"))
    elif not isinstance(value, str):
        reasons.append(Reason("wrong_type", "q", "`q` takes a string of words to search", shorten_json(value)))
    elif not value.strip():
        reasons.append(Reason("blank_filter", "q", "`q` is blank: leave it out, or write a word to search"))
    elif len(value) > MAX_SEARCH_LENGTH:
        reasons.append(Reason("out_of_range", "q", f"`q` takes at most {MAX_SEARCH_LENGTH} characters"))
    else:
        try:
            return str(TYPES["text"].cast(value))
        except CastError as error:
            reasons.append(Reason("wrong_type", "q", error.message))
    return None


def _read_count(value: Any, reasons: list[Reason]) -> Count | None:
    if value is None:
        return None
    if value not in tuple(Count):
        reasons.append(Reason("wrong_type", "count", '`count` takes "exact" or "estimated"', shorten_json(value)))
        return None
    return Count(value)


def _select_columns(plan: Plan, wanted: Any, reasons: list[Reason]) -> tuple[tuple[str, ...], tuple[DocumentPath, ...]]:
    known = list_columns(plan)
    if wanted is None:
        return known, ()
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        reasons.append(Reason("wrong_type", "fields", "`fields` takes a list of column names and paths"))
        return known, ()
    if len(wanted) > MAX_FIELDS:
        reasons.append(Reason("out_of_range", "fields", f"`fields` takes at most {MAX_FIELDS} names"))
        return known, ()
    paths: dict[str, DocumentPath] = {}
    for name in wanted:
        if name in known:
            continue
        reason, path = _parse_path(plan, name)
        if reason is None and path is not None:
            paths[name] = path
        elif reason is not None:
            reasons.append(reason)
    return tuple(name for name in known if name in wanted), tuple(paths.values())


def _parse_path(plan: Plan, text: str) -> tuple[Reason | None, DocumentPath | None]:
    """Parse a dotted path into a document column; return either the reason why it is invalid, or the path."""
    column, dot, rest = text.partition(".")
    shown = text[:100]
    if column not in list_columns(plan):
        return Reason("unknown_column", "fields", f"unknown column `{shown}`; {_suggest_column(plan, column)}"), None
    if not is_document_column(plan, column):
        documents = [column.name for column in plan.fields if column.type.name == "jsonb"]
        offered = (
            f"paths go into {', '.join(f'`{name}`' for name in documents)}" if documents else "no column has paths"
        )
        return Reason("unknown_column", "fields", f"`{shown}`: `{column}` is no document; {offered}"), None
    keys = tuple(rest.split("."))
    if not dot or not all(keys) or len(text) > MAX_PATH_LENGTH:
        message = f"`{shown}` is no path: write `{column}.key.key`, at most {MAX_PATH_LENGTH} characters"
        return Reason("unknown_column", "fields", message), None
    try:
        TYPES["text"].cast(text)
    except CastError as error:
        return Reason("unknown_column", "fields", f"`{shown}`: {error.message}"), None
    return None, DocumentPath(text, column, keys)


def _suggest_column(plan: Plan, name: str) -> str:
    return suggest_name(name, list_columns(plan))


def _read_number(
    parameters: Mapping[str, Any], name: str, default: int, low: int, high: int, reasons: list[Reason]
) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        reasons.append(
            Reason("out_of_range", name, f"`{name}` is a whole number from {low} to {high}", shorten_json(value, 40))
        )
        return default
    return int(value)  # a number from `exact_json` keeps its digits, such as `-0`
