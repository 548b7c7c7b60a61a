"""Parse the key that a caller names, and find its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.errors import suggest_name
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, convert_value
from engine.rows.query import QueryRejected
from engine.sql.explain import build_rows_of_key_statement
from engine.store.connection import Connection, fetch_rows
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_snapshot
from engine.values import exact_json
from engine.values.exact_json import ExactError, Json

#: Conflict column -> value. Columns that are left out may have any value.
PartialKey = Mapping[str, Any]

#: How many rows of a part of a key are listed.
_MOST_ROWS = 20


def parse_key(plan: Plan, given: Mapping[str, str]) -> PartialKey:
    """Convert texts of conflict columns to values as they are stored; a blank text is null.

    Raises QueryRejected for a column outside the key, and for a value its column cannot have.
    """
    reasons, key = [], {}
    names = [column.name for column in plan.key_fields]
    hint = f"the key is {', '.join(f'`{name}`' for name in names)}"
    for name, text in given.items():
        if name not in names:
            reasons.append(Reason("unknown_field", name, f"`{name}` is no conflict column of `{plan.name}`"))
            hint = suggest_name(name, names) or hint
            continue
        try:
            key[name] = convert_value(plan.field(name), _read_text(plan.field(name), text))
        except Rejected as rejected:
            reasons += rejected.reasons
    if not given:
        reasons.append(Reason("missing_required", None, "no column of the key is given"))
    if reasons:
        raise QueryRejected(reasons, hint=hint)
    return key


def _read_text(column: Field, text: str) -> Json:
    """Return the JSON value of a text: null if blank, the text for a column that takes strings, else parsed as JSON."""
    if not text.strip():
        return None
    kinds = column.normalizers[0].accepts if column.normalizers else column.type.takes
    if "string" in kinds:
        return text
    try:
        return exact_json.loads(text)
    except ExactError:
        return text  # the column's type rejects it with its own message


class KeyMatchState(StrEnum):
    """The state of a part of a key that several rows have."""

    SEVERAL_ROWS = "several_rows"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row with a key: its id and all values of its key."""

    id: str
    key: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class SeveralRows:
    """The rows that have the given part of a key, in the order of their keys; `more` when some are left out."""

    plan: Plan
    given: PartialKey
    rows: Sequence[KeyRow]
    more: bool
    state: KeyMatchState = KeyMatchState.SEVERAL_ROWS

    @property
    def missing(self) -> str:
        """The columns of the key that are not given, as text."""
        return ", ".join(f"`{column.name}`" for column in self.plan.key_fields if column.name not in self.given)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `dex explain` and of the endpoint."""
        count = f"more than {len(self.rows)}" if self.more else len(self.rows)
        return {
            "id": None,
            "state": self.state.value,
            "explanation": f"{count} rows have this part of a key: also give {self.missing}, or the id of a row",
            "cells": [],
            "rows": [{"id": row.id, "key": dict(row.key)} for row in self.rows],
            "more": self.more,
        }


async def find_rows_of_key(connection: Connection, plan: Plan, org_id: str, key: PartialKey) -> SeveralRows:
    """Return the rows of the organisation with these values: none, one or several. Raises StoreUnavailable."""
    statement = build_rows_of_key_statement(plan, org_id, key, _MOST_ROWS + 1)
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        found = await fetch_rows(connection, statement.text, statement.parameters)
    rows = [KeyRow(row_id, _read_object(scalars)) for row_id, scalars in found[:_MOST_ROWS]]
    return SeveralRows(plan, key, rows, more=len(found) > _MOST_ROWS)


def _read_object(text: str) -> dict[str, Json]:
    value = exact_json.loads(text)
    assert isinstance(value, dict)
    return value
