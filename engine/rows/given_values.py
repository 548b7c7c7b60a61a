"""Build rows from field values given by name, or list every reason why a value cannot be stored.

Requests and typed functions give values in different forms, so the caller passes a function `convert`, which decodes
a value to JSON and converts it to the column's type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from engine.errors import EngineError
from engine.plan import Field, Plan
from engine.provided_columns import SOURCE_COLUMNS
from engine.rows.extract import Reason, Rejected, Row, derive_values
from engine.rows.keys import select_last_of_key
from engine.values.column_types import TYPES, CastError, shorten_json

V = TypeVar("V")


class Refused(EngineError):
    """Raised for values that cannot be stored, or not be used in a query. `reasons` names each value."""

    def __init__(self, reasons: Iterable[Reason], *, hint: str = "nothing was written; fix the named value") -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reason.sentence for reason in self.reasons), hint=hint)

    @property
    def field(self) -> str | None:
        """The field of the first reason."""
        return self.reasons[0].field


def convert_values(
    plan: Plan, values: Mapping[str, V], convert: Callable[[Field, V | None], Any], operation: str | None = None
) -> tuple[Row, list[Reason]]:
    """Convert `values` to a row of `plan`; return the row, and a reason for each value that cannot be stored.

    A field without a value counts as missing; names that are not fields are ignored; derived fields are computed.
    `convert` is `engine.rows.extract.convert_value`, or a function that first decodes V to JSON. The normalizers are
    those of `operation`.
    """
    row: Row = {}
    reasons = []
    fields = plan.list_fields(operation)
    for column in fields:
        if column.coalesce:
            continue
        try:
            row[column.name] = convert(column, values.get(column.name))
        except Rejected as rejected:
            reasons.append(rejected.reason)
    return (row, reasons) if reasons else derive_values(fields, row)


def convert_sources(values: Mapping[str, Any]) -> tuple[Row, list[Reason]]:
    """Convert the source columns among JSON values; return them (None if absent), and a reason for each invalid one."""
    row: Row = {}
    reasons = []
    for name, kind in SOURCE_COLUMNS.items():
        value = values.get(name)
        try:
            row[name] = None if value is None else TYPES[kind].cast(value)
        except CastError as error:
            reasons.append(Reason("wrong_type", name, str(error), shorten_json(value)))
    return row, reasons


def select_last_rows(plan: Plan, rows: Iterable[Row]) -> list[Row]:
    """Return the last row of each key, sorted by key."""
    return [row for _, row in select_last_of_key(plan, enumerate(rows))]
