"""Values handed over by name -> rows that may be written.

In: a plan and values by field, from whoever calls: a request, a typed function. Out: admitted rows, or every reason why
not. It must not know HTTP, nor how a value is spelled before it is JSON: that is for the `read` a caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from engine.columns import SOURCE_COLUMNS
from engine.errors import EngineError
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, Row
from engine.values.column_types import TYPES, CastError, shorten

V = TypeVar("V")


class Refused(EngineError):
    """Values that cannot be stored or asked for. `reasons` names each; `field` is the first one's."""

    def __init__(self, reasons: Iterable[Reason], *, hint: str = "nothing was written; mend the value named") -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reason.sentence for reason in self.reasons), hint=hint)

    @property
    def field(self) -> str | None:
        return self.reasons[0].field


def row(plan: Plan, values: Mapping[str, V], read: Callable[[Field, V | None], Any]) -> tuple[Row, list[Reason]]:
    """Return the admitted row and every reason against it. A field without a value is missing; other names are ignored.

    `read` is `extract.admit`, or what makes a JSON value of V first.
    """
    admitted: Row = {}
    reasons = []
    for field in plan.fields:
        try:
            admitted[field.name] = read(field, values.get(field.name))
        except Rejected as rejected:
            reasons.append(rejected.reason)
    return admitted, reasons


def sources(values: Mapping[str, Any]) -> tuple[Row, list[Reason]]:
    """Return the source columns among JSON values, null where there is none, and every reason against them."""
    admitted: Row = {}
    reasons = []
    for name, kind in SOURCE_COLUMNS.items():
        value = values.get(name)
        try:
            admitted[name] = None if value is None else TYPES[kind].cast(value)
        except CastError as error:
            reasons.append(Reason("wrong_type", name, str(error), shorten(value)))
    return admitted, reasons


def fold(plan: Plan, rows: Iterable[Row]) -> list[Row]:
    """One row per key, in one order for every writer, so that two of them cannot deadlock. The last of a key wins.

    A `keep` field that the last one misses comes from the one before it, as one upsert after the other would leave it.
    """
    by_key: dict[tuple[Any, ...], Row] = {}
    for item in rows:
        key = tuple(item[field.name] for field in plan.key_fields)
        by_key[key] = _over(plan, by_key[key], item) if key in by_key else item
    return [by_key[key] for key in sorted(by_key, key=lambda key: [(part is None, str(part)) for part in key])]


def _over(plan: Plan, earlier: Row, later: Row) -> Row:
    kept = {field.name for field in plan.fields if field.on_missing == "keep"}
    return {name: earlier[name] if value is None and name in kept else value for name, value in later.items()}
