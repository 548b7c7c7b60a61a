"""Build the statements that explain rows: they read a stored row, the rows of a key, the basis, and ledger entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.columns import list_columns
from engine.plan import Plan
from engine.research.providers import ResearchProvider
from engine.sql.identifiers import Statement, build_answer_columns, quote, quote_table
from engine.sql.json_paths import build_detoast_subquery, build_path_value

#: The ledger entries of step results: (id, whether made under the present version of the spec, outcome, reasons).
READ_LEDGER_SQL = """
select step_result_id::text, spec_digest = %(digest)s, outcome, reasons
from step_persistence
where spec = %(spec)s and step_result_id = any(string_to_array(%(ids)s, ',')::uuid[])
"""


def build_basis_statement(provider: ResearchProvider, step_ids: Sequence[str]) -> Statement:
    """Select the basis (the provider's evidence) of each step result's answer: (id, JSON text)."""
    text = f"""
select source.id::text, basis.value::text
from step_results as source
cross join lateral {build_detoast_subquery(provider.basis[:1])} as document
cross join lateral (select {build_path_value(provider.basis)} as value offset 0) as basis
where source.id = any(string_to_array(%(ids)s, ',')::uuid[]) and basis.value is not null
"""
    return Statement(text, {"ids": ",".join(step_ids)})


def build_stored_row_statement(plan: Plan, org_id: str, row_id: str) -> Statement:
    """Select one row of an organisation: its scalars as one JSON text, then each document as text."""
    text = f"""
select {build_answer_columns(plan, list_columns(plan), "stored")}
from {quote_table(plan.table)} as stored
where stored.org_id = %(org_id)s::uuid and stored.id = %(id)s::uuid
"""
    return Statement(text, {"org_id": org_id, "id": row_id})


def build_owner_statement(plan: Plan, row_id: str) -> Statement:
    """Select the organisation that has the row with this id; only for operators, who may read all organisations."""
    return Statement(f"select org_id::text from {quote_table(plan.table)} where id = %(id)s::uuid", {"id": row_id})


def build_rows_of_key_statement(plan: Plan, org_id: str, key: Mapping[str, Any], limit: int) -> Statement:
    """Select the rows with these values of key columns, in the order of their keys: (id, key as JSON text)."""
    conditions, parameters = build_key_conditions(plan, key)
    names = [column.name for column in plan.key_fields]
    text = f"""
select stored.id::text, {build_answer_columns(plan, names, "stored")}
from {quote_table(plan.table)} as stored
where {conditions}
order by {", ".join(f"stored.{quote(name)}" for name in names)}
limit %(limit)s
"""
    return Statement(text, {**parameters, "org_id": org_id, "limit": limit})


def build_key_conditions(plan: Plan, key: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Build the condition that a row `stored` of the organisation has these values; return it with its parameters."""
    conditions, parameters = ["stored.org_id = %(org_id)s::uuid"], dict[str, Any]()
    for number, (name, value) in enumerate(key.items()):
        if value is None:
            conditions.append(f"stored.{quote(name)} is null")
            continue
        conditions.append(f"stored.{quote(name)} = %(key_{number})s::{plan.field(name).type.sql}")
        parameters[f"key_{number}"] = value
    return " and ".join(conditions), parameters
