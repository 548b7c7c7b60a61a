"""What a caller asks of a table -> a Question.

In: a plan, an organisation, and the words of a query: filters, `limit`, `offset`, `fields`. Out: a Question whose
filter values went through the same normalizers and casts as the stored ones. It must not know HTTP; API, command line
and typed functions all ask through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.columns import columns
from engine.errors import EngineError, nearest
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, admit

LIMIT = 100
MOST = 1000
MOST_OFFSET = 2**31 - 1
#: The words of a query that are no filters.
WORDS = ("limit", "offset", "fields")


class QuestionRefused(EngineError):
    """A query that cannot be asked. `reasons` names each word that is wrong."""

    def __init__(self, reasons: list[Reason], hint: str) -> None:
        super().__init__("; ".join(reason.sentence for reason in reasons), hint=hint)
        self.reasons = reasons


def ask(plan: Plan, org_id: str | None, words: Mapping[str, Any], after: tuple[str, str] | None = None) -> Question:
    """Return the Question. A filter is one value or a list of which one must match; null is no filter.

    Raises QuestionRefused naming every word that is unknown, out of range, or no value of its column.
    """
    reasons: list[Reason] = []
    known = (*(item.name for item in plan.filters), *WORDS)
    reasons += [
        Reason("unknown_field", word, f"unknown field `{word}`; {nearest(word, known)}")
        for word in words
        if word not in known
    ]
    question = Question(
        org_id=org_id,
        filters=_filters(plan, words, reasons),
        columns=_columns(plan, words.get("fields"), reasons),
        limit=_number(words, "limit", LIMIT, 1, MOST, reasons),
        offset=_number(words, "offset", 0, 0, MOST_OFFSET, reasons),
        after=after,
    )
    if reasons:
        raise QuestionRefused(reasons, "known fields: " + ", ".join(f"`{name}`" for name in known))
    return question


def _filters(plan: Plan, words: Mapping[str, Any], reasons: list[Reason]) -> dict[str, Any]:
    found = {}
    for item in plan.filters:
        value = words.get(item.name)
        if value is None:
            continue
        try:
            found[item.name] = (
                [_value(item, part) for part in value] if isinstance(value, list) else _value(item, value)
            )
        except Rejected as rejected:
            reasons.append(rejected.reason)
    return found


def _value(item: Field, value: Any) -> Any:
    admitted = admit(replace(item, required=False), value)  # a filter is not a row: nothing is missing from it
    if admitted is None:
        message = f"`{item.name}` is blank: a filter needs a value"
        raise Rejected(Reason("blank_filter", item.name, message))
    return admitted


def _columns(plan: Plan, wanted: Any, reasons: list[Reason]) -> tuple[str, ...]:
    known = columns(plan)
    if wanted is None:
        return known
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        reasons.append(Reason("wrong_type", "fields", "`fields` takes a list of column names"))
        return known
    reasons += [
        Reason("unknown_column", "fields", f"unknown column `{name}`; {nearest(name, known)}")
        for name in wanted
        if name not in known
    ]
    return tuple(name for name in known if name in wanted)


def _number(words: Mapping[str, Any], name: str, default: int, low: int, high: int, reasons: list[Reason]) -> int:
    value = words.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        reasons.append(
            Reason("out_of_range", name, f"`{name}` is a whole number from {low} to {high}", str(value)[:40])
        )
        return default
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a caller asks of one table. `filters`: column -> one value, or a list of which one must match."""

    org_id: str | None  # None: every organisation, which no caller of the API may ask
    filters: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str]
    limit: int
    offset: int = 0
    after: tuple[str, str] | None = None  # created_at and id of the last row seen

    @property
    def tenant(self) -> str:
        """The organisation of a question that a tenant asks."""
        assert self.org_id is not None
        return self.org_id
