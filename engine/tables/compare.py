"""Compare a plan with its table as the catalog describes it: columns, rights and policies; without a database.

`engine/tables/compare_indexes.py` compares the indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from engine.plan import Plan
from engine.provided_columns import PROVIDED_COLUMNS, SEARCH_COLUMN
from engine.spec.enums import OnAbsent
from engine.sql.tenant import TENANT_ROLE
from engine.tables.catalog import PolicyRow, Table
from engine.tables.compare_indexes import compare_indexes, compare_key_index
from engine.tables.ddl import (
    build_add_column,
    build_add_stored_words,
    build_alter_column,
    build_alter_type,
    build_drop_stored_words,
    build_grant,
    build_provided_definition,
    build_row_security,
    build_schema_grant,
    build_sequence_grant,
    build_tenant_policy,
    spell_identifier,
    spell_table,
    spell_type,
)
from engine.tables.differences import Code, Difference

#: The privilege for each command, as `pg_policy` abbreviates it.
_PRIVILEGES: Final = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
#: The definition of the column `id` for a table that has another primary key.
_OWN_KEY_DEFINITION: Final = "UUID NOT NULL DEFAULT gen_random_uuid() UNIQUE"
_COMMANDS: Final = frozenset(_PRIVILEGES)


def compare_table(plan: Plan, table: Table) -> list[Difference]:
    """Return the differences that keep rows from being written or isolated, in the order in which to repair them."""
    return [difference for compare in _COMPARISONS for difference in compare(plan, table)]


def compare_reading(plan: Plan, table: Table) -> list[Difference]:
    """Return what makes reading slow or impossible: triggers that record changes, indexes, or stored words missing."""
    return [*compare_following(plan, table), *compare_indexes(plan, table), *compare_stored_words(plan, table)]


def compare_following(plan: Plan, table: Table) -> list[Difference]:
    """Return a difference if the table lacks the triggers that record its changes."""
    message = f"changes of `{plan.table}` are not recorded, so `changes` misses them"
    sql = f"SELECT follow_changes('{plan.table}');"
    return [] if table.row.followed else [Difference(plan.name, Code.CHANGES_UNRECORDED, message, sql)]


def compare_stored_words(plan: Plan, table: Table) -> list[Difference]:
    """Return a difference if the table stores other words than those of the columns under `search`."""
    if table.stored_words == (sorted(plan.search) or None):
        return []
    drop = build_drop_stored_words(plan.table)
    if not plan.search:
        message = f"`{plan.table}` stores words in `{SEARCH_COLUMN}`, and the spec searches none"
        return [Difference(plan.name, Code.WORDS_NOT_STORED, message, drop, column=SEARCH_COLUMN)]
    names = ", ".join(f"`{name}`" for name in plan.search)
    message = f"`{plan.table}` does not store the words of {names}, so a query with `q` makes them from every row"
    column = table.columns.get(SEARCH_COLUMN)
    if column is not None and not column.generated:
        advice = f"column `{SEARCH_COLUMN}` of the table is another one: rename it, then the words can be stored"
        return [Difference(plan.name, Code.WORDS_NOT_STORED, message, advice=advice, column=SEARCH_COLUMN)]
    advice = "Postgres writes the table anew meanwhile, and nobody else reads or writes it"
    add = build_add_stored_words(plan)
    sql = add if column is None else f"{drop}\n{add}"
    return [Difference(plan.name, Code.WORDS_NOT_STORED, message, sql, advice, column=SEARCH_COLUMN)]


def list_required_columns(plan: Plan, table: Table) -> list[str]:
    """Return the columns that the spec requires but the table does not: rows of a former key may lack them."""
    names = [column.name for column in plan.fields if column.required]
    return [name for name in names if name in table.columns and not table.columns[name].not_null]


def report_missing_values(plan: Plan, columns: Sequence[str], count: int, *, is_more: bool) -> Difference:
    """Return the difference of a table with rows that lack values which the spec requires."""
    names = ", ".join(f"`{name}`" for name in columns)
    message = f"{'more than ' if is_more else ''}{count} row(s) of `{plan.table}` lack a value in {names}, which the"
    message += " spec requires: they were written under an old key"
    advice = f"dex rebuild {plan.name}; rows of no step result have to be corrected or deleted first"
    return Difference(plan.name, Code.ROWS_OF_OLD_KEY, message, advice=advice)


def _compare_columns(plan: Plan, table: Table) -> Iterator[Difference]:
    definitions = {name: build_provided_definition(column) for name, column in PROVIDED_COLUMNS.items()}
    if any(index.primary for index in table.indexes):
        definitions["id"] = _OWN_KEY_DEFINITION
    definitions |= {column.name: spell_type(column) for column in plan.fields}
    for name, definition in definitions.items():
        if name not in table.columns:
            message = f"column `{name}` is missing from `{plan.table}`"
            sql = build_add_column(plan.table, name, definition)
            yield Difference(plan.name, Code.COLUMN_MISSING, message, sql, column=name)


def _compare_types(plan: Plan, table: Table) -> Iterator[Difference]:
    field_types = {column.name: column.type.sql for column in plan.fields}
    for name, type_ in {**{name: column.type for name, column in PROVIDED_COLUMNS.items()}, **field_types}.items():
        row, expected = table.columns.get(name), table.types[type_]
        if row and row.type != expected:
            message = f"column `{name}` of `{plan.table}` is `{row.type}`, the spec says `{expected}`"
            sql = build_alter_type(plan.table, name, expected)
            if name in (table.stored_words or ()):  # Postgres changes no column from which another one is computed
                stored = [build_add_stored_words(plan)] if plan.search else []
                sql = "\n".join([build_drop_stored_words(plan.table), sql, *stored])
            possible = name in field_types and row.type in table.types.values()
            advice = f"or write `type: {table.spell_spec_type(name)}` in the spec" if possible else ""
            yield Difference(plan.name, Code.TYPE_DIFFERS, message, sql, advice, column=name)


def _compare_unfilled_columns(plan: Plan, table: Table) -> Iterator[Difference]:
    filled = {column.name for column in plan.fields} | PROVIDED_COLUMNS.keys()
    defaults = {name: column.constraint.partition("DEFAULT ")[2] for name, column in PROVIDED_COLUMNS.items()}
    for name, row in table.columns.items():
        default = defaults.get(name, "")
        if row.not_null and not row.has_default and not row.generated and (default or name not in filled):
            message = f"column `{name}` of `{plan.table}` is NOT NULL and nothing fills it"
            sql = build_alter_column(plan.table, name, f"SET DEFAULT {default}" if default else "DROP NOT NULL")
            yield Difference(plan.name, Code.COLUMN_UNFILLED, message, sql, column=name)


def _compare_field_columns(plan: Plan, table: Table) -> Iterator[Difference]:
    for column in plan.fields:
        name, row = column.name, table.columns.get(column.name)
        if row and row.generated:
            message = f"column `{name}` of `{plan.table}` is generated"
            sql = build_alter_column(plan.table, name, "DROP EXPRESSION")
            yield Difference(plan.name, Code.COLUMN_GENERATED, message, sql, column=name)
        elif row and row.not_null and not column.required:
            message = f"column `{name}` is NOT NULL, and its field is not `required`"
            sql = build_alter_column(plan.table, name, "DROP NOT NULL")
            advice = "or write `required: true` in the spec"
            yield Difference(plan.name, Code.COLUMN_NOT_NULL, message, sql, advice, column=name)


def _compare_role(plan: Plan, table: Table) -> Iterator[Difference]:
    if not table.row.role_exists:
        message = f"role `{TENANT_ROLE}` does not exist"
        yield Difference(plan.name, Code.ROLE_UNFIT, message, advice="dex migrate")
    elif table.row.role_unbound:
        message = f"role `{TENANT_ROLE}` is a superuser or bypasses row level security"
        yield Difference(plan.name, Code.ROLE_UNFIT, message, f"ALTER ROLE {TENANT_ROLE} NOSUPERUSER NOBYPASSRLS;")
    needed = {_PRIVILEGES[command] for command in _list_needed_commands(plan)}
    if denied := sorted(needed.intersection(table.row.denied)):
        message = f"role `{TENANT_ROLE}` lacks {', '.join(denied)} on `{plan.table}`"
        yield Difference(plan.name, Code.PRIVILEGE_MISSING, message, build_grant(plan.table, denied))
    for sequence in table.row.denied_sequences:
        message = (
            f"role `{TENANT_ROLE}` lacks USAGE on the sequence `{sequence}`, which a default of `{plan.table}` uses"
        )
        yield Difference(plan.name, Code.PRIVILEGE_MISSING, message, build_sequence_grant(sequence))


def _compare_schema(plan: Plan, table: Table) -> Iterator[Difference]:
    if table.row.schema_denied and "." in plan.table:
        schema = plan.table.partition(".")[0]
        message = f"role `{TENANT_ROLE}` may not use the schema `{schema}`"
        yield Difference(plan.name, Code.PRIVILEGE_MISSING, message, build_schema_grant(plan.table))


def _compare_policies(plan: Plan, table: Table) -> Iterator[Difference]:
    if not table.row.row_security:
        message = f"row level security is off on `{plan.table}`"
        yield Difference(plan.name, Code.ROW_SECURITY_OFF, message, build_row_security(plan.table))
    create = build_tenant_policy(plan.table)
    needed = _list_needed_commands(plan)
    wide = [policy for policy in table.policies if _is_wide(policy)]
    covered = _list_covered_commands(policy for policy in table.policies if policy not in wide)
    for policy in wide:
        message = f"policy `{policy.name}` of `{plan.table}` does not check the organisation"
        drop = f"DROP POLICY {spell_identifier(policy.name)} ON {spell_table(plan.table)};"
        sql = drop if needed <= covered else f"{drop}\n{create}"
        yield Difference(plan.name, Code.POLICY_TOO_WIDE, message, sql)
    if uncovered := needed - covered - _list_covered_commands(wide):
        privileges = ", ".join(sorted(_PRIVILEGES[command] for command in uncovered))
        message = f"`{plan.table}` has no policy that lets `{TENANT_ROLE}` {privileges}"
        yield Difference(plan.name, Code.NO_TENANT_POLICY, message, create)


def _list_needed_commands(plan: Plan) -> frozenset[str]:
    return _COMMANDS if plan.on_absent is OnAbsent.DELETE else _COMMANDS - {"d"}


def _list_covered_commands(policies: Iterable[PolicyRow]) -> frozenset[str]:
    return frozenset().union(*(_COMMANDS if policy.command == "*" else {policy.command} for policy in policies))


def _is_wide(policy: PolicyRow) -> bool:
    """Return whether a policy allows reading or writing rows of any organisation."""
    reads, writes = policy.command in "rwd*", policy.command in "aw*"
    return (reads and "app.org_id" not in policy.reads) or (writes and "app.org_id" not in policy.writes)


_COMPARISONS: Final[tuple[Callable[[Plan, Table], Iterable[Difference]], ...]] = (
    _compare_columns,
    _compare_types,
    compare_key_index,
    _compare_unfilled_columns,
    _compare_field_columns,
    _compare_role,
    _compare_schema,
    _compare_policies,
)
