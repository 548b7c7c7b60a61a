"""Parse the key that a caller names, and find the rows that have it."""

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

#: The value of each given conflict column; the others may have any value.
PartialKey = Mapping[str, Any]

#: The most rows listed for a key of which only some columns are given.
_MOST_ROWS = 20


def parse_key(plan: Plan, texts: Mapping[str, str]) -> PartialKey:
    """Convert the texts of key columns to values as they are stored; a blank text means null.

    Raises QueryRejected for a column outside the key, and for a value that its column cannot hold.
    """
    reasons, key = [], {}
    names = [column.name for column in plan.key_fields]
    hint = f"the key is {', '.join(f'`{name}`' for name in names)}"
    for name, text in texts.items():
        if name not in names:
            reasons.append(Reason("unknown_field", name, f"`{name}` is no conflict column of `{plan.name}`"))
            hint = suggest_name(name, names) or hint
            continue
        try:
            key[name] = convert_value(plan.field(name), _read_text(plan.field(name), text))
        except Rejected as rejected:
            reasons += rejected.reasons
    if not texts:
        reasons.append(Reason("missing_required", None, "no column of the key is given"))
    if reasons:
        raise QueryRejected(reasons, hint=hint)
    return key


def _read_text(column: Field, text: str) -> Json:
    """Return the JSON value of a text: null if blank, the text itself for a column of strings, else the parsed JSON."""
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
    """The state reported when several rows have the given part of a key."""

    SEVERAL_ROWS = "several_rows"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row with a key: its id and all values of its key."""

    id: str
    key: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class SeveralRows:
    """The rows that have the given part of a key, in the order of their keys; `more` is True if some are left out."""

    plan: Plan
    given: PartialKey
    rows: Sequence[KeyRow]
    more: bool
    state: KeyMatchState = KeyMatchState.SEVERAL_ROWS

    @property
    def missing(self) -> str:
        """The names of the key columns for which no value is given, in backticks and joined by commas."""
        return ", ".join(f"`{column.name}`" for column in self.plan.key_fields if column.name not in self.given)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object that `dex explain` and the explain endpoint answer."""
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
    """Return the rows of the organisation that have the values of `key`: none, one or several."""
    statement = build_rows_of_key_statement(plan, org_id, key, _MOST_ROWS + 1)
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        records = await fetch_rows(connection, *statement)
    rows = [KeyRow(row_id, _read_object(scalars)) for row_id, scalars in records[:_MOST_ROWS]]
    return SeveralRows(plan, key, rows, more=len(records) > _MOST_ROWS)


def _read_object(text: str) -> dict[str, Json]:
    value = exact_json.loads(text)
    assert isinstance(value, dict)
    return value
