"""Build the COPY statements of an export, for all rows of a query: lines of JSON, CSV, or columns for Parquet.

Postgres writes the lines itself (`COPY ... TO STDOUT`), so that no value passes through Python objects.
"""

from __future__ import annotations

from typing import Any

from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.export_formats import ExportFormat
from engine.rows.query import Query
from engine.sql.conditions import build_conditions
from engine.sql.identifiers import Statement, quote, quote_names, quote_table
from engine.sql.select import build_order, build_path_values
from engine.values.column_types import TYPES, ColumnType

#: JSON escapes control characters, so CSV with these as delimiter and quote adds nothing: a line is one object.
_LINES = r"format csv, delimiter e'\x02', quote e'\x01', escape e'\x01'"


def build_copy_statement(plan: Plan, query: Query, format_: ExportFormat) -> Statement:
    """Copy every row that matches, in the query's order, as lines of JSON or as CSV without a header."""
    is_lines = format_ is ExportFormat.NDJSON
    columns, parameters = _build_lines(query) if is_lines else _build_columns(plan, query, format_)
    conditions, more = build_conditions(plan, query)
    text = f"""
copy (
    select {columns}
    from {quote_table(plan.table)} as shown
    where {conditions}
    order by {build_order(query.order)}
) to stdout ({_LINES if is_lines else "format csv"})
"""
    return Statement(text, {**parameters, **more})


def list_export_columns(plan: Plan, query: Query) -> dict[str, ColumnType]:
    """Return the columns of an export with their types: the selected columns, then the paths, which are documents."""
    fields = {column.name: column.type for column in plan.fields}
    provided = {name: TYPES[column.type] for name, column in PROVIDED_COLUMNS.items()}
    known = {**provided, **fields}
    return {**{name: known[name] for name in query.columns}, **{path.text: TYPES["jsonb"] for path in query.paths}}


def _build_columns(plan: Plan, query: Query, format_: ExportFormat) -> tuple[str, dict[str, Any]]:
    """Return the select list for CSV and Parquet, and its parameters."""
    types = list_export_columns(plan, query)
    columns = [_build_column(f"shown.{quote(name)}", types[name].name, format_) for name in query.columns]
    paths, parameters = build_path_values(query)
    return ", ".join((*columns, *paths)), parameters


def _build_column(column: str, type_: str, format_: ExportFormat) -> str:
    """Return a column as it stands in a file: in CSV its values are spelled as in JSON, arrays as JSON.

    For Parquet, days and times are the numbers that it stores, since Arrow reads no text of a year before 1 or after
    9999. It has no infinite times, and none of the last 30 years that Postgres has: they become null.
    """
    if type_ == "text[]":
        return f"to_json({column})"
    if format_ is ExportFormat.PARQUET and type_ == "date":
        return f"case when isfinite({column}) then {column} - date '1970-01-01' end"
    if format_ is ExportFormat.PARQUET and type_ == "timestamptz":
        microseconds = f"(extract(epoch from {column}) * 1000000)::bigint"
        return f"case when isfinite({column}) and {column} < '294247-01-01' then {microseconds} end"
    if type_ in ("date", "timestamptz"):
        return f"btrim(to_json({column})::text, '\"')"
    if type_ == "boolean" and format_ is ExportFormat.CSV:
        return f"{column}::text"
    return column


def _build_lines(query: Query) -> tuple[str, dict[str, Any]]:
    """Return the select list for one JSON object per row, and its parameters.

    The values of paths are appended to the object's text, since a path may be too long for a column alias.
    """
    row = f"(select row_to_json(line.*)::text from (select {quote_names(query.columns, 'shown.')}) as line)"
    if not query.paths:
        return row, {}
    paths, parameters = build_path_values(query)
    pairs = []
    for number, (path, value) in enumerate(zip(query.paths, paths, strict=True)):
        parameters[f"path_name_{number}"] = path.text
        pairs.append(f"to_json(%(path_name_{number})s::text)::text || ':' || coalesce(({value})::text, 'null')")
    members = f"nullif(substr({row}, 2, length({row}) - 2), '')"
    # An array, since a function takes at most 100 arguments
    return f"'{{' || array_to_string(array[{', '.join((members, *pairs))}], ',') || '}}'", parameters
