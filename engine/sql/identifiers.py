"""Quote identifiers and build the SQL fragments that several statements share.

Identifiers enter SQL through `quote` only, and values as parameters only, spelled `%(name)s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.columns import is_document_column, list_document_columns
from engine.plan import Field, Plan


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text and its parameters, as the driver takes them."""

    text: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def quote(name: str) -> str:
    """Quote an identifier and escape `%` for the driver. Raises ValueError for NUL, which Postgres cannot store."""
    if "\0" in name:
        raise ValueError("an identifier cannot contain NUL")
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def quote_names(names: Iterable[str], prefix: str = "") -> str:
    """Quote `names` and join them with commas, each preceded by `prefix`."""
    return ", ".join(prefix + quote(name) for name in names)


def indent_lines(lines: Iterable[str], joint: str = ",\n") -> str:
    """Indent `lines` by four spaces and join them."""
    return joint.join(f"    {line}" for line in lines)


def build_answer_columns(plan: Plan, wanted: Sequence[str], source: str) -> str:
    """Build the select list of an answer: the scalar columns as one JSON object, then each document as text.

    A document is text so that it passes to the caller without being decoded and encoded again.
    """
    scalar_columns = ", ".join(f"{source}.{quote(name)}" for name in wanted if not is_document_column(plan, name))
    scalars = f"(select row_to_json(small.*)::text from (select {scalar_columns}) as small) as scalars"
    return ",\n        ".join(
        [scalars, *(f"{source}.{quote(name)}::text" for name in list_document_columns(plan, wanted))]
    )


def build_key_equality(left: str, right: str, nullable: bool) -> str:
    """Build the equality of two key columns; null equals null if the column is nullable."""
    return f"{left} is not distinct from {right}" if nullable else f"{left} = {right}"


def build_key_match(plan: Plan, left: str, right: str) -> str:
    """Build the condition that two row sources have equal conflict columns."""
    return _build_columns_match(plan, plan.conflict, left, right)


def build_parent_match(plan: Plan, left: str, right: str) -> str:
    """Build the condition that two row sources have the same organisation and parent key (`on_absent: delete`)."""
    return _build_columns_match(plan, ("org_id", *(column.name for column in plan.parent_key)), left, right)


def _build_columns_match(plan: Plan, names: Iterable[str], left: str, right: str) -> str:
    columns: dict[str, Field] = {column.name: column for column in plan.key_fields}
    return "\n    and ".join(
        build_key_equality(
            f"{left}.{quote(name)}", f"{right}.{quote(name)}", name in columns and not columns[name].required
        )
        for name in names
    )
