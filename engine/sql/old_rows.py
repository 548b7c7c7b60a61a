"""Build the statement that counts the rows of an old key."""

from __future__ import annotations

from collections.abc import Sequence

from engine.sql.identifiers import quote, quote_table


def build_old_rows_sql(table: str, columns: Sequence[str]) -> str:
    """Count the rows that lack a value in one of `columns`, `limit` of them at most."""
    missing = " or ".join(f"{quote(name)} is null" for name in columns)
    return f"select count(*) from (select from {quote_table(table)} where {missing} limit %(limit)s) as old"
