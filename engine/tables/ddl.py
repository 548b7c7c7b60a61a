"""Build the DDL of a plan's table, for drafted migrations and for the hints of differences."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from engine.plan import Field, Plan
from engine.provided_columns import SEARCH_COLUMN, ProvidedColumn
from engine.sql.identifiers import quote
from engine.sql.search import build_stored_words
from engine.sql.tenant import TENANT_POLICY, TENANT_ROLE

_MAX_IDENTIFIER_BYTES: Final = 63  # Postgres truncates longer names, so two of them may become equal
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
#: The reserved words of Postgres, which have to be quoted (`pg_get_keywords` of version 18).
_RESERVED: Final = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
unique user using variadic verbose when where window with
"""


def spell_identifier(name: str) -> str:
    """Return an identifier, quoted only if SQL requires it."""
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED.split() else quote(name)


def spell_table(name: str) -> str:
    """Return the name of a table, with its schema if it has one, quoted only if SQL requires it."""
    return ".".join(map(spell_identifier, name.split(".")))


def spell_index(table: str, index: str) -> str:
    """Return the name of an index in the schema of its table: `app.t`, `idx_t_x` gives `app.idx_t_x`."""
    schema = table.rpartition(".")[0]
    return spell_table(f"{schema}.{index}" if schema else index)


def build_index_name(table: str, suffix: str) -> str:
    """Return the usual name of an index, `idx_<table>_<suffix>`, without the schema."""
    return shorten_identifier(f"idx_{table.rpartition('.')[2]}_{suffix}")


def build_schema(table: str) -> str:
    """Return the statements that create the schema of a table and let tenants use it; "" for a table without one."""
    schema = table.rpartition(".")[0]
    if not schema:
        return ""
    name = spell_identifier(schema)
    return f"CREATE SCHEMA IF NOT EXISTS {name};\n{build_schema_grant(table)}"


def build_schema_grant(table: str) -> str:
    """Return the statement that lets tenants use the schema of a table."""
    return f"GRANT USAGE ON SCHEMA {spell_identifier(table.rpartition('.')[0])} TO {TENANT_ROLE};"


def shorten_identifier(name: str) -> str:
    """Shorten a name to the length that Postgres stores; a hash at its end keeps two long names apart."""
    if len(name) <= _MAX_IDENTIFIER_BYTES:
        return name
    return f"{name[: _MAX_IDENTIFIER_BYTES - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def spell_type(column: Field) -> str:
    """Return the SQL type of a field's column."""
    return column.type.sql.upper()


def build_provided_definition(column: ProvidedColumn) -> str:
    """Return type and constraint of a provided column."""
    return f"{column.type.upper()} {column.constraint}".strip()


def build_add_column(table: str, column: str, definition: str) -> str:
    """Return the statement that adds a column unless the table already has one with that name."""
    return f"ALTER TABLE {spell_table(table)} ADD COLUMN IF NOT EXISTS {spell_identifier(column)} {definition};"


def build_stored_words_definition(plan: Plan) -> str:
    """Return type and expression of the column that stores the words for `q`."""
    return build_stored_words(plan, spell_identifier)


def build_add_stored_words(plan: Plan) -> str:
    """Return the statement that stores the words for `q`."""
    definition = build_stored_words_definition(plan)
    return f"ALTER TABLE {spell_table(plan.table)} ADD COLUMN {spell_identifier(SEARCH_COLUMN)} {definition};"


def build_drop_stored_words(table: str) -> str:
    """Return the statement that drops the stored words."""
    return f"ALTER TABLE {spell_table(table)} DROP COLUMN {spell_identifier(SEARCH_COLUMN)};"


def build_alter_column(table: str, column: str, action: str) -> str:
    """Return the statement that changes one column, for example by the action `DROP NOT NULL`."""
    return f"ALTER TABLE {spell_table(table)} ALTER COLUMN {spell_identifier(column)} {action};"


def build_alter_type(table: str, column: str, type_: str) -> str:
    """Return the statement that casts a column to another type; the cast may fail, or lose a part of the values."""
    return build_alter_column(table, column, f"TYPE {type_} USING {spell_identifier(column)}::{type_}")


def build_index(table: str, suffix: str, columns: Sequence[str], included: Sequence[str] = ()) -> str:
    """Return the statement for the index `idx_<table>_<suffix>`; a column may have an order, as in `id DESC`.

    `included` are the columns that the index stores without being ordered by them.
    """
    name = spell_identifier(build_index_name(table, suffix))
    target = spell_index_columns(columns, included, separator="\n    ")
    return f"CREATE INDEX IF NOT EXISTS {name}\n    ON {spell_table(table)} {target};"


def spell_index_columns(columns: Sequence[str], included: Sequence[str] = (), *, separator: str = " ") -> str:
    """Return the columns of an index as CREATE INDEX has them, such as `(org_id, id DESC) INCLUDE (name)`."""
    parts = [f"({', '.join(map(_spell_index_column, columns))})"]
    if included:
        parts.append(f"INCLUDE ({', '.join(map(spell_identifier, included))})")
    return separator.join(parts)


def build_unique_index(table: str, columns: Sequence[str], *, nulls_equal: bool, suffix: str = "") -> str:
    """Return the statement for the unique index on the key columns.

    Without a suffix Postgres chooses the name, since an unusable index may have the usual one already.
    """
    name = spell_identifier(build_index_name(table, suffix))
    head = f"IF NOT EXISTS {name}\n    ON" if suffix else "ON"
    tail = " NULLS NOT DISTINCT" if nulls_equal else ""
    return f"CREATE UNIQUE INDEX {head} {spell_table(table)} {spell_index_columns(columns)}{tail};"


def _spell_index_column(column: str) -> str:
    name, _, order = column.partition(" ")
    return f"{spell_identifier(name)} {order}".strip()


def build_drop_index(table: str, name: str, *, is_constraint: bool) -> str:
    """Return the statement that drops an index of a table, or the constraint that it belongs to."""
    if is_constraint:
        return f"ALTER TABLE {spell_table(table)} DROP CONSTRAINT {spell_identifier(name)};"
    return f"DROP INDEX {spell_index(table, name)};"


def build_row_security(table: str) -> str:
    """Return the statement that enables row level security for a table."""
    return f"ALTER TABLE {spell_table(table)} ENABLE ROW LEVEL SECURITY;"


def build_grant(table: str, privileges: Sequence[str]) -> str:
    """Return the statement that grants privileges, such as `SELECT`, to the role of every tenant."""
    return f"GRANT {', '.join(privileges)} ON {spell_table(table)} TO {TENANT_ROLE};"


def build_sequence_grant(sequence: str) -> str:
    """Return the statement that lets tenants use a sequence; `sequence` is its name as written in SQL."""
    return f"GRANT USAGE ON SEQUENCE {sequence} TO {TENANT_ROLE};"


def build_tenant_policy(table: str) -> str:
    """Return the statements that let a tenant access only its own rows."""
    name = spell_table(table)
    return (
        f"DROP POLICY IF EXISTS tenant ON {name};\n"
        f"CREATE POLICY tenant ON {name} TO {TENANT_ROLE}\n"
        f"    USING ({TENANT_POLICY})\n    WITH CHECK ({TENANT_POLICY});"
    )
