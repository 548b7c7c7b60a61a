"""Draft the next migration for a plan: its table, or the columns, indexes and triggers that its table lacks.

A draft never drops or narrows anything: statements that could lose data are comments, for a person to decide on.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from engine.errors import EngineError
from engine.plan import Field, Plan
from engine.provided_columns import LEADING_COLUMNS, SEARCH_COLUMN, TRAILING_COLUMNS
from engine.tables.catalog import Table
from engine.tables.compare import compare_following, compare_stored_words, compare_table
from engine.tables.compare_indexes import is_key_nullable
from engine.tables.ddl import (
    build_alter_column,
    build_drop_index,
    build_grant,
    build_index,
    build_index_name,
    build_provided_definition,
    build_row_security,
    build_schema,
    build_stored_words_definition,
    build_tenant_policy,
    build_unique_index,
    shorten_identifier,
    spell_identifier,
    spell_table,
    spell_type,
)
from engine.tables.differences import Code, Difference
from engine.tables.hints import DEPENDS_ON_ROWS
from engine.tables.query_indexes import list_missing_indexes, list_query_indexes

#: Differences that are repaired by adding something, so that nothing is lost.
_ADDED: Final = frozenset(
    {
        Code.NO_UNIQUE_INDEX,
        Code.ROW_SECURITY_OFF,
        Code.NO_TENANT_POLICY,
        Code.PRIVILEGE_MISSING,
        Code.CHANGES_UNRECORDED,
    }
)
#: Differences that a person has to decide on, each with its comment in the draft.
_DECIDED: Final = {
    Code.COLUMN_UNFILLED: "`{column}` is NOT NULL and nothing fills it: rows cannot be written until this is decided:",
    Code.COLUMN_NOT_NULL: "`{column}` is NOT NULL, and its field is not `required`: require it in the spec, or:",
    Code.NULLABLE_KEY: "a key column may be NULL, and the unique index lets such rows repeat:",
    Code.POLICY_TOO_WIDE: "a policy lets tenants reach rows without looking at the organisation:",
    Code.WORDS_NOT_STORED: "the words that `q` searches are not stored; to store them writes the table anew, locked:",
}
_ALL_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


class NothingToDraft(EngineError):
    """The table has every column and index of the spec, or a migration that is not applied yet creates them."""


def draft_migration(plan: Plan, number: int, migrations: Iterable[str], table: Table | None) -> tuple[str, str]:
    """Return the file name and the text of the migration with this number.

    `migrations` are the names of the existing files; `table` is None if it does not exist. Raises NothingToDraft when
    nothing has to be added.
    """
    names = list(migrations)
    stem = _build_file_stem(plan)
    if table is None:
        _check_not_drafted(plan, names)
        return f"{number:03d}_{stem}.sql", build_create_migration(plan)
    differences = [
        *compare_table(plan, table),
        *compare_following(plan, table),
        *compare_stored_words(plan, table),
    ]
    added = [difference.column for difference in differences if difference.code == Code.COLUMN_MISSING]
    indexes = _build_missing_indexes(plan, table)
    if not added and not indexes and not any(difference.code in _ADDED for difference in differences):
        hint = "`dex check --database` says whether types, keys and policies fit too"
        raise NothingToDraft(f"table `{plan.table}` has every column and index of `{plan.name}`", hint=hint)
    codes = {difference.code for difference in differences if difference.code in _ADDED}
    rest = "changes" if codes == {Code.CHANGES_UNRECORDED} else "access"
    subject = added[0] if len(added) == 1 else "columns" if added else "indexes" if indexes else rest
    return f"{number:03d}_{stem}_{subject}.sql", _build_alter_migration(plan, table, differences, indexes)


def check_no_rebuild_needed(differences: Iterable[Difference]) -> None:
    """Raise NothingToDraft if the SQL of a migration would fail because of rows in the table."""
    for difference in differences:
        if difference.code in DEPENDS_ON_ROWS and not difference.sql:
            raise NothingToDraft(f"no migration can repair this: {difference.message}", hint=difference.advice)


def _build_file_stem(plan: Plan) -> str:
    return plan.table.replace(".", "_")


def _check_not_drafted(plan: Plan, migrations: Iterable[str]) -> None:
    for name in migrations:
        if re.fullmatch(rf"\d+_{_build_file_stem(plan)}\.sql", name):
            message = f"table `{plan.table}` does not exist, but `{name}` would create it"
            raise NothingToDraft(message, hint="apply it with `dex migrate`, or remove it to draft it again")


def build_create_migration(plan: Plan) -> str:
    """Return the SQL of a new table with its indexes, trigger, policy and grants."""
    return _join_blocks(
        _build_comment(
            f"{plan.title}. {plan.description}", f"Drafted by `dex draft-migration {plan.name}` from {plan.file}."
        ),
        build_schema(plan.table),
        _build_table(plan),
        "\n".join(_build_indexes(plan)),
        _build_trigger(plan),
        "\n".join(
            (build_row_security(plan.table), build_grant(plan.table, _ALL_PRIVILEGES), build_tenant_policy(plan.table))
        ),
        _build_compression(plan.table, plan.fields),
        _build_follow_changes(plan.table),
    )


def _build_alter_migration(plan: Plan, table: Table, differences: Sequence[Difference], indexes: Sequence[str]) -> str:
    missing = [difference for difference in differences if difference.code == Code.COLUMN_MISSING]
    names = {difference.column for difference in missing}
    added = [column for column in plan.fields if column.name in names]
    return _join_blocks(
        _build_comment(f"{plan.title}: what {plan.file} has more.", f"Drafted by `dex draft-migration {plan.name}`."),
        "\n".join(line for difference in missing for line in _build_addition(plan, difference)),
        "\n".join(indexes),
        _build_compression(plan.table, added),
        "\n".join(_build_key(plan, table, differences, [column.name for column in added if column.key])),
        _build_trigger(plan) if "updated_at" in names else "",
        "\n".join(dict.fromkeys(_list_added_statements(differences))),
        "\n".join(_build_closing_comments(plan, table, differences)),
    )


# --- a new table ----------------------------------------------------------------------------------------------------


def _build_table(plan: Plan) -> str:
    definitions = {
        **{column.name: build_provided_definition(column) for column in LEADING_COLUMNS},
        **{column.name: spell_type(column) + (" NOT NULL" if column.required else "") for column in plan.fields},
        **{column.name: build_provided_definition(column) for column in TRAILING_COLUMNS},
        **({SEARCH_COLUMN: build_stored_words_definition(plan)} if plan.search else {}),
    }
    lines = (f"    {spell_identifier(name)} {definition}" for name, definition in definitions.items())
    return f"CREATE TABLE IF NOT EXISTS {spell_table(plan.table)} (\n" + ",\n".join(lines) + "\n);"


def _build_indexes(plan: Plan) -> Iterator[str]:
    nullable = any(not column.required for column in plan.key_fields)
    yield build_unique_index(plan.table, plan.conflict, nulls_equal=nullable, suffix="dedup")
    yield from (index.build_sql(plan.table) for index in list_query_indexes(plan))
    yield from (build_index(plan.table, f"by_{'_'.join(columns)}", columns) for columns in plan.indexes)


def _build_trigger(plan: Plan) -> str:
    name = spell_identifier(shorten_identifier(f"update_{plan.table.rpartition('.')[2]}_updated_at"))
    table = spell_table(plan.table)
    return (
        f"DROP TRIGGER IF EXISTS {name} ON {table};\n"
        f"CREATE TRIGGER {name}\n    BEFORE UPDATE ON {table}\n"
        "    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();"
    )


def _build_follow_changes(table: str) -> str:
    """Return the statement that creates the triggers which record changes, and one change for each existing row."""
    return f"SELECT follow_changes('{table}');  -- its rows are followed by `changes`"


def _build_compression(table: str, columns: Iterable[Field]) -> str:
    """Return the statements that compress documents with lz4, if the server supports it."""
    documents = [column.name for column in columns if column.type.name == "jsonb"]
    if not documents:
        return ""
    lines = (f"    {build_alter_column(table, name, 'SET COMPRESSION lz4')}" for name in documents)
    return (
        "DO $$\nBEGIN\n" + "\n".join(lines) + "\nEXCEPTION WHEN feature_not_supported THEN\n"
        "    RAISE NOTICE 'this server is built without lz4; the columns keep its default compression';\nEND;\n$$;"
    )


# --- an existing table ----------------------------------------------------------------------------------------------


def _build_missing_indexes(plan: Plan, table: Table) -> list[str]:
    """Return the statements for the indexes that the table lacks; one that begins with the same columns will do."""
    existing = [tuple(index.columns) for index in table.indexes if index.valid and not index.partial]
    missing = [index.build_sql(plan.table) for index in list_missing_indexes(plan, table)]
    missing += [
        build_index(plan.table, f"by_{'_'.join(columns)}", columns)
        for columns in plan.indexes
        if not any(index[: len(columns)] == columns for index in existing)
    ]
    return missing


def _build_addition(plan: Plan, missing: Difference) -> Iterator[str]:
    name = missing.column
    if any(column.name == name and column.required for column in plan.fields):
        yield f"-- `{name}` is required, but the rows stored already have no value for it. Once"
        yield f"-- `dex backfill {plan.name} --all` has filled them:"
        yield f"--     {build_alter_column(plan.table, name, 'SET NOT NULL')}"
    yield missing.sql


def _build_key(plan: Plan, table: Table, differences: Sequence[Difference], added: Sequence[str]) -> Iterator[str]:
    """Yield the unique index of the key if it is missing; an index of a former key stays until a person drops it."""
    name = build_index_name(plan.table, "dedup")
    taken = {index.name for index in table.indexes}
    nulls_equal = is_key_nullable(plan, table)
    if added and name in taken:
        yield f"-- The key has grown by {', '.join(added)}. The old unique index still refuses rows that differ in"
        yield "-- nothing else; once no older release writes:"
        yield f"--     {build_drop_index(plan.table, name, is_constraint=False)}"
        suffix = f"dedup_{'_'.join(added)}"
        yield build_unique_index(plan.table, plan.conflict, nulls_equal=nulls_equal, suffix=suffix)
    elif any(difference.code == Code.NO_UNIQUE_INDEX for difference in differences):
        yield "-- it fails where rows share a key already: those have to be made one first"
        suffix = "dedup" if name not in taken else f"dedup_{'_'.join(plan.conflict)}"
        yield build_unique_index(plan.table, plan.conflict, nulls_equal=nulls_equal, suffix=suffix)


def _list_added_statements(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield the statements that add row level security, policies, grants and change triggers."""
    for difference in differences:
        if difference.code in _ADDED and difference.code != Code.NO_UNIQUE_INDEX:
            yield difference.sql


def _build_closing_comments(plan: Plan, table: Table, differences: Iterable[Difference]) -> Iterator[str]:
    """Yield comments on what a person has to decide, such as changes of types, which may lose values."""
    types = {column.name: column.type.sql for column in plan.fields}
    for difference in differences:
        if difference.code in _DECIDED and difference.sql:
            yield f"-- {_DECIDED[difference.code].format(column=difference.column)}"
            yield from (f"--     {line}" for line in difference.sql.splitlines())
        if difference.code == Code.TYPE_DIFFERS and (name := difference.column) in types:
            type_ = table.spell_spec_type(name)
            yield f"-- `{name}` is {type_} here and {types[name]} in the spec; changing a type may lose values:"
            yield from (f"--     {line}" for line in difference.sql.splitlines())
    yield "-- `dex check --database` names whatever else does not fit, with the SQL that repairs it"


# --- text -----------------------------------------------------------------------------------------------------------


def _join_blocks(*blocks: str) -> str:
    return "\n\n".join(filter(None, blocks)) + "\n"


def _build_comment(*paragraphs: str) -> str:
    """Return paragraphs as comment lines, whatever line breaks they contain."""
    wrapped = (textwrap.wrap(" ".join(text.split()), 117) for text in paragraphs)
    return "\n--\n".join("\n".join(f"-- {line}" for line in lines) for lines in wrapped)
