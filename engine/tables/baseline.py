"""Check, before a migration changes anything, that the tables which should exist do, and that none hides another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from engine.store.connection import Connection, fetch_row, fetch_rows
from engine.store.errors import wrap_errors
from engine.tables.migration_files import Migration, MigrationError, blank_opaque

_CREATED: Final = re.compile(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", re.IGNORECASE)
#: Table, its schema, and the schema's place in the search path (NULL if it is not there); those with a place first.
_SELECT_TABLES: Final = """
select c.relname::text, n.nspname::text, array_position(current_schemas(false), n.nspname)
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.relname = any(%s) and c.relkind in ('r', 'p') and n.nspname not like 'pg\\_%%'
order by 3 nulls last, 2
"""


async def check_tables(connection: Connection, baselined: Iterable[Migration], pending: Iterable[Migration]) -> None:
    """Raise MigrationError unless each table of `baselined` exists once, and none of `pending` in another schema.

    A table in a second schema would be hidden from the migrations, or would be hidden by what they create.
    """
    expected = sorted(set(_list_tables(baselined)))
    created = sorted(set(_list_tables(pending)) - set(expected))
    async with wrap_errors():
        rows = await fetch_rows(connection, _SELECT_TABLES, [[*expected, *created]])
        current, path = await fetch_row(connection, "select current_schema()::text, current_schemas(false)::text[]")
    inside: dict[str, list[str]] = {}
    outside: dict[str, list[str]] = {}
    for table, schema, place in rows:
        (outside if place is None else inside).setdefault(table, []).append(schema)
    if current is None:
        raise MigrationError(
            "the search path names no schema that exists", hint="create the schema, or name another in the search path"
        )
    _check_present(expected, inside, outside, path)
    for table, schemas in inside.items():
        if len(schemas) > 1:
            message = f"`{table}` exists more than once in the search path: in {_spell_names(schemas)}"
            raise MigrationError(message, hint="take the schema that is not meant out of the search path")
    for table in created:
        if inside.get(table, [current]) != [current]:
            message = f"`{table}` exists already, in `{inside[table][0]}`, and a migration would create another"
            hint = "adopt the database with `--baseline`, or name that schema first in the search path"
            raise MigrationError(f"{message} in `{current}`", hint=hint)


def _check_present(
    expected: Iterable[str], inside: dict[str, list[str]], outside: dict[str, list[str]], path: list[str]
) -> None:
    missing = [table for table in expected if table not in inside]
    if not missing:
        return
    message = f"the baseline means that these tables exist, but they do not: {_spell_names(missing)}"
    elsewhere = sorted({schema for table in missing for schema in outside.get(table, [])})
    hint = "name the number of the last migration that was applied by hand"
    if elsewhere:
        message += f" (in the search path; some are in {_spell_names(elsewhere)})"
        schemas = ",".join([*elsewhere, *path])
        hint = f"add all their schemas to the search path: DATABASE_URL=...?options=-csearch_path%3D{schemas}"
    raise MigrationError(f"{message}; nothing was changed", hint=hint)


def _list_tables(files: Iterable[Migration]) -> Iterator[str]:
    for file in files:
        yield from (match[1].lower() for match in _CREATED.finditer(blank_opaque(file.text)))


def _spell_names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
