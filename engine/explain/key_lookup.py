"""Parse the key that a caller names, and find the id of its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import suggest_name
from engine.plan import Field, Plan
from engine.rows.extract import Reason, Rejected, convert_value
from engine.rows.query import QueryRejected
from engine.sql.explain import build_rows_of_key_statement
from engine.store.connection import Connection
from engine.store.errors import wrap_errors
from engine.store.tenant import open_tenant_snapshot
from engine.values import exact_json
from engine.values.exact_json import ExactError, Json

#: Conflict column -> value. Columns may be left out where the others identify one row.
PartialKey = Mapping[str, Any]


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


async def find_row_of_key(connection: Connection, plan: Plan, org_id: str, key: PartialKey) -> str | None:
    """Return the id of the one row of the organisation with these values; None when there is none.

    Raises QueryRejected when several rows have them, StoreUnavailable.
    """
    statement = build_rows_of_key_statement(plan, org_id, key)
    async with wrap_errors(), open_tenant_snapshot(connection, org_id):
        rows = await (await connection.execute(statement.text, statement.parameters)).fetchall()
    if len(rows) > 1:
        missing = [column.name for column in plan.key_fields if column.name not in key]
        message = f"several rows of `{plan.name}` have this key"
        hint = f"also give {', '.join(f'`{name}`' for name in missing)}"
        raise QueryRejected([Reason("ambiguous_key", None, message)], hint=hint)
    return rows[0][0] if rows else None
