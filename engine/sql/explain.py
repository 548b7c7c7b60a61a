"""Build the statements that explain rows: a stored row, the rows of a key, and what is known of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.columns import list_columns
from engine.plan import Plan
from engine.sql.identifiers import Statement, build_answer_columns, quote, quote_table

#: Which rows of a key are looked at to tell one from several.
_MOST_ROWS = 2

#: What the ledger has on record of step results: (id, whether of the present version of the spec, outcome, reasons).
READ_LEDGER_SQL = """
select step_result_id::text, spec_digest = %(digest)s, outcome, reasons
from step_persistence
where spec = %(spec)s and step_result_id = any(string_to_array(%(ids)s, ',')::uuid[])
"""

#: The basis of the answers in step results, where they have one: (id, basis as JSON text).
READ_BASIS_SQL = """
select id::text, (output_payload #> '{operation_result,output,parallel_raw_response,output,basis}')::text
from step_results
where id = any(string_to_array(%(ids)s, ',')::uuid[])
    and output_payload #> '{operation_result,output,parallel_raw_response,output,basis}' is not null
"""


def build_stored_row_statement(plan: Plan, org_id: str, row_id: str) -> Statement:
    """Select one row of an organisation: its scalars as one JSON text, then each document as text."""
    text = f"""
select {build_answer_columns(plan, list_columns(plan), "stored")}
from {quote_table(plan.table)} as stored
where stored.org_id = %(org_id)s::uuid and stored.id = %(id)s::uuid
"""
    return Statement(text, {"org_id": org_id, "id": row_id})


def build_owner_statement(plan: Plan, row_id: str) -> Statement:
    """Select the organisation of a row, for operators, who name no organisation."""
    return Statement(f"select org_id::text from {quote_table(plan.table)} where id = %(id)s::uuid", {"id": row_id})


def build_rows_of_key_statement(plan: Plan, org_id: str, key: Mapping[str, Any]) -> Statement:
    """Select the ids of the rows with these values of conflict columns, at most two of them."""
    conditions = ["org_id = %(org_id)s::uuid"]
    parameters: dict[str, Any] = {"org_id": org_id}
    for number, (name, value) in enumerate(key.items()):
        if value is None:
            conditions.append(f"{quote(name)} is null")
            continue
        conditions.append(f"{quote(name)} = %(key_{number})s::{plan.field(name).type.sql}")
        parameters[f"key_{number}"] = value
    text = f"""
select id::text from {quote_table(plan.table)}
where {" and ".join(conditions)}
limit {_MOST_ROWS}
"""
    return Statement(text, parameters)
