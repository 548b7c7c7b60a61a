"""Quote identifiers and build the SQL fragments that several statements share.

Identifiers enter SQL only through `quote`, and values only as parameters, written `%(name)s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.columns import is_document_column, list_document_columns
from engine.plan import Plan

#: The most nullable key columns for which a lookup has branches: 2**4 branches, of which one reads an index.
_MOST_BRANCHED = 4


class Statement(NamedTuple):
    """SQL text and its parameters, as psycopg takes them: `connection.execute(*statement)`."""

    text: str
    parameters: Mapping[str, Any] = MappingProxyType({})


def quote(name: str) -> str:
    """Quote an identifier, and escape `%` for psycopg. Raises ValueError for NUL, which Postgres cannot store."""
    if "\0" in name:
        raise ValueError("an identifier cannot contain NUL")
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def quote_table(name: str) -> str:
    """Quote the name of a table, and its schema if the name has one before a dot."""
    return ".".join(map(quote, name.split(".")))


def quote_names(names: Iterable[str], prefix: str = "") -> str:
    """Quote `names` and join them with commas, each preceded by `prefix`."""
    return ", ".join(prefix + quote(name) for name in names)


def indent_lines(lines: Iterable[str]) -> str:
    """Indent `lines` by four spaces and join them with commas."""
    return ",\n".join(f"    {line}" for line in lines)


def build_answer_columns(plan: Plan, wanted: Sequence[str], source: str, *, cast: bool = True) -> str:
    """Build the select list of an API answer: the scalar columns as one JSON object, then each document as text.

    As text a document is passed on without being decoded and encoded again. Without `cast`, Postgres converts it only
    while sending the row: a cast below a sort would be computed for all rows before the first one is sent.
    """
    scalar_columns = ", ".join(f"{source}.{quote(name)}" for name in wanted if not is_document_column(plan, name))
    scalars = f"(select row_to_json(small.*)::text from (select {scalar_columns}) as small) as scalars"
    suffix = "::text" if cast else ""
    documents = (f"{source}.{quote(name)}{suffix}" for name in list_document_columns(plan, wanted))
    return ",\n        ".join((scalars, *documents))


def build_key_lookup(plan: Plan, source: str) -> str:
    """Build the query for the row `stored` that has the key of `source`."""
    return _build_lookup(plan, plan.conflict, source, "*")


def build_parent_lookup(plan: Plan) -> str:
    """Build the query for the ids of the stored rows of the parent key in `parent` (`on_absent: delete`)."""
    return _build_lookup(plan, ("org_id", *(column.name for column in plan.parent_key)), "parent", "stored.id")


def _build_lookup(plan: Plan, names: Sequence[str], source: str, columns: str) -> str:
    """Build one query per combination of null and non-null key columns; for each row of `source` one of them applies.

    No btree can serve `is not distinct from`: with a nullable key column all rows of the organisation would be read.
    Here each branch is an index condition, and a branch that does not apply ends at a test of `source` alone.
    """
    nullable = [name for name in names if name != "org_id" and not plan.field(name).required]
    branched, rest = nullable[:_MOST_BRANCHED], nullable[_MOST_BRANCHED:]
    branches = []
    for nulls in product((False, True), repeat=len(branched)):
        is_null = dict(zip(branched, nulls, strict=True))
        conditions = [_build_equality(name, source, is_null.get(name), name in rest) for name in names]
        where = " and ".join(conditions)
        branches.append(f"select {columns} from {quote_table(plan.table)} as stored where {where}")
    return "\n        union all ".join(branches)


def _build_equality(name: str, source: str, is_null: bool | None, is_plain: bool) -> str:
    """Build the equality of one key column. `is_null` is None for a column without branches."""
    stored, wanted = f"stored.{quote(name)}", f"{source}.{quote(name)}"
    if is_null:
        return f"{wanted} is null and {stored} is null"
    return f"{stored} is not distinct from {wanted}" if is_plain else f"{stored} = {wanted}"
