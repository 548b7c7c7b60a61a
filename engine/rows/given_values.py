"""Validate field values given by name and build rows from them, or list every reason why not.

Requests and typed functions pass values in different forms. The caller's `convert` turns a raw value into JSON and
converts it to the column, so this module is independent of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from engine.errors import EngineError
from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.extract import Reason, Rejected, Row
from engine.rows.keys import fold_elements
from engine.values.column_types import TYPES, CastError, shorten_json

V = TypeVar("V")


class Refused(EngineError):
    """Raised for values that cannot be stored or used in a query. `reasons` names each value."""

    def __init__(self, reasons: Iterable[Reason], *, hint: str = "nothing was written; mend the value named") -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reason.sentence for reason in self.reasons), hint=hint)

    @property
    def field(self) -> str | None:
        """The field of the first reason."""
        return self.reasons[0].field


def convert_values(
    plan: Plan, values: Mapping[str, V], convert: Callable[[Field, V | None], Any]
) -> tuple[Row, list[Reason]]:
    """Convert `values` to a row of `plan`; return it with every reason why a value cannot be stored.

    A field without a value counts as missing; names that are no fields are ignored. `convert` is
    `engine.rows.extract.convert_value`, or a function that decodes V to JSON first.
    """
    row: Row = {}
    reasons = []
    for column in plan.fields:
        try:
            row[column.name] = convert(column, values.get(column.name))
        except Rejected as rejected:
            reasons.append(rejected.reason)
    return row, reasons


def convert_sources(values: Mapping[str, Any]) -> tuple[Row, list[Reason]]:
    """Convert the source columns among JSON values; return them, None where absent, and the reasons against them."""
    row: Row = {}
    reasons = []
    for name, kind in SOURCE_COLUMNS.items():
        value = values.get(name)
        try:
            row[name] = None if value is None else TYPES[kind].cast(value)
        except CastError as error:
            reasons.append(Reason("wrong_type", name, str(error), shorten_json(value)))
    return row, reasons


def fold_rows(plan: Plan, rows: Iterable[Row]) -> list[Row]:
    """Reduce `rows` to one per key, sorted by key: the last wins, and keeps `keep` fields that it misses."""
    return [row for _, row in fold_elements(plan, enumerate(rows))]
