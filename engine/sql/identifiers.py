"""The two doors of SQL: identifiers through `quote`, values as parameters.

In: names and plans. Out: text and parameters for the driver. It must not know psycopg; placeholders are `%(name)s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.columns import documents, is_document
from engine.plan import Field, Plan


@dataclass(frozen=True, slots=True)
class Statement:
    """What crosses to the driver."""

    text: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def quote(name: str) -> str:
    """Quote an identifier. The only function that does."""
    if "\0" in name:
        raise ValueError("an identifier cannot contain NUL")
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def quoted(names: Iterable[str], prefix: str = "") -> str:
    """`"a", "b"`, each behind `prefix`."""
    return ", ".join(prefix + quote(name) for name in names)


def indented(lines: Iterable[str], joint: str = ",\n") -> str:
    """The lines, indented and joined."""
    return joint.join(f"    {line}" for line in lines)


def shown(plan: Plan, wanted: Sequence[str], source: str) -> str:
    """The wanted columns of `source` as answers show them, as text: the scalars as one JSON object, then each document.

    So a document passes through to the caller without being decoded or encoded again.
    """
    small = ", ".join(f"{source}.{quote(name)}" for name in wanted if not is_document(plan, name))
    scalars = f"(select row_to_json(small.*)::text from (select {small}) as small) as scalars"
    return ",\n        ".join([scalars, *(f"{source}.{quote(name)}::text" for name in documents(plan, wanted))])


def same(left: str, right: str, nullable: bool) -> str:
    """Equality of two key columns; null equals null where the column may be null."""
    return f"{left} is not distinct from {right}" if nullable else f"{left} = {right}"


def match_key(plan: Plan, left: str, right: str) -> str:
    """The condition that two row sources agree on the conflict columns."""
    return _match(plan, plan.conflict, left, right)


def match_parent(plan: Plan, left: str, right: str) -> str:
    """The condition that they agree on organisation and parent key: that `on_absent: delete` compares them."""
    return _match(plan, ("org_id", *(item.name for item in plan.parent_key)), left, right)


def _match(plan: Plan, names: Iterable[str], left: str, right: str) -> str:
    by_name: dict[str, Field] = {item.name: item for item in plan.key_fields}
    return "\n    and ".join(
        same(f"{left}.{quote(name)}", f"{right}.{quote(name)}", name in by_name and not by_name[name].required)
        for name in names
    )
