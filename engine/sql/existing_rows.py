"""Build the statements that test whether the existing rows of a table fit a changed key or type."""

from __future__ import annotations

from collections.abc import Sequence

from engine.sql.identifiers import quote, quote_table


def build_missing_values_sql(table: str, columns: Sequence[str]) -> str:
    """Count the rows that lack a value in one of `columns`, at most `limit`."""
    missing = " or ".join(f"{quote(name)} is null" for name in columns)
    return f"select count(*) from (select from {quote_table(table)} where {missing} limit %(limit)s) as old"


def build_cast_sql(table: str, column: str, type_: str) -> str:
    """Cast every value of a column; the statement fails if one of them cannot become the type."""
    return f"select count({quote(column)}::{type_}) from {quote_table(table)}"


def build_repeated_key_sql(table: str, columns: Sequence[str]) -> str:
    """Select whether two rows have the same values in `columns`, where nulls count as equal."""
    names = ", ".join(map(quote, columns))
    return f"select exists (select from {quote_table(table)} group by {names} having count(*) > 1)"
