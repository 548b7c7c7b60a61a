"""Read a stored row as JSON values; compute its key, and the unit (rows that are computed together) it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from engine.columns import list_columns, list_document_columns
from engine.plan import Field, Plan
from engine.rows.keys import Key
from engine.rows.units import Unit, build_unit
from engine.sql.explain import build_owner_statement, build_stored_row_statement
from engine.store.connection import Connection, fetch_row, fetch_value
from engine.values import exact_json
from engine.values.column_types import CastError
from engine.values.exact_json import Json


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of a plan's table. `values` holds every column as JSON, numbers with all their digits."""

    plan: Plan
    org_id: str
    id: str
    values: Mapping[str, Json]

    @property
    def step_id(self) -> str | None:
        """The step result that the row names as its source."""
        value = self.values["source_step_result_id"]
        return value if isinstance(value, str) else None

    def cast_cell(self, column: Field) -> Any:
        """Return a cell as the Python value that extraction gives.

        Raises CastError for one that no extraction can give.
        """
        value = self.values[column.name]
        return None if value is None else column.type.cast(value)

    def find_unit(self) -> tuple[Unit, Key] | None:
        """Return unit (rows computed together) and key of the row; None if no step result can have given them."""
        try:
            key = {column.name: self.cast_cell(column) for column in self.plan.key_fields}
        except CastError:
            return None
        return build_unit(self.plan, self.org_id, key), tuple(key.values())


async def read_stored_row(connection: Connection, plan: Plan, org_id: str, row_id: str) -> StoredRow | None:
    """Return a row of the organisation; None when it has no such row."""
    row = await fetch_row(connection, *build_stored_row_statement(plan, org_id, row_id))
    if row is None:
        return None
    scalars, *documents = (None if text is None else exact_json.loads(text) for text in row)
    assert isinstance(scalars, dict)
    names = list_document_columns(plan, list_columns(plan))
    return StoredRow(plan, org_id, row_id, {**scalars, **dict(zip(names, documents, strict=True))})


async def find_owner(connection: Connection, plan: Plan, row_id: str) -> str | None:
    """Return the organisation that has a row, which may be any; None if there is no such row."""
    org_id: str | None = await fetch_value(connection, *build_owner_statement(plan, row_id))
    return org_id


def convert_to_json(column: Field, value: Any) -> Json:
    """Convert a value from extraction to the JSON that Postgres returns for the cell once it is stored."""
    match value:
        case str() if column.type.name == "jsonb":
            return exact_json.loads(value)
        case Decimal():
            return exact_json.parse_number(format(value, "f"))
        case datetime() | date():
            return format_time(value)
    json: Json = value
    return json


def format_time(value: date) -> str:
    """Format a date or timestamp as Postgres writes it in JSON: without trailing zeros in the fraction of a second."""
    text = value.isoformat()
    if "." not in text:
        return text
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest[:6].rstrip('0')}{rest[6:]}"
