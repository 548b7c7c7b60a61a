"""Grant the engine's role its rights on the tables, if that role exists; used by `dex migrate` and `dex db roles`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.plan import Plan
from engine.sql.tenant import ENGINE_ROLE
from engine.store.connection import Connection, fetch_records, fetch_rows, fetch_value
from engine.store.errors import wrap_errors
from engine.tables.ddl import spell_table
from engine.tables.engine_rights import (
    Rights,
    TableAccess,
    build_access_statements,
    has_access,
    list_table_rights,
)

_ROLE_EXISTS: Final = "select exists (select from pg_roles where rolname = %s)"
_SELECT_ENGINE_LOGINS: Final = """
select login.rolname::text from pg_roles as login join pg_roles as engine on engine.rolname = %s
where login.rolcanlogin and not login.rolsuper and pg_has_role(login.oid, engine.oid, 'MEMBER') order by 1
"""
_SELECT_TABLES: Final = """
select wanted.name, pg_get_userbyid(c.relowner)::text as owner, pg_has_role(c.relowner, 'USAGE') as mine,
       c.relrowsecurity as row_security,
       array(
           select privilege
           from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege
           where has_table_privilege(r.oid, c.oid, privilege)
       ) as privileges,
       case when wanted.changed = '' then has_table_privilege(r.oid, c.oid, 'UPDATE')
            else has_column_privilege(r.oid, c.oid, wanted.changed, 'UPDATE') end as changes_column,
       exists (select from pg_policy where polrelid = c.oid and polname = 'engine') as policy
from unnest(%(names)s::text[], %(spelled)s::text[], %(changed)s::text[]) as wanted (name, spelled, changed)
join pg_class as c on c.oid = to_regclass(wanted.spelled)
join pg_roles as r on r.rolname = %(role)s
order by wanted.name
"""
#: Schemas and sequences that the role may not use although its tables need them.
_SELECT_DENIED: Final = """
with wanted as (
    select to_regclass(spelled) as oid from unnest(%(spelled)s::text[]) as spelled
)
select distinct 'SCHEMA ' || c.relnamespace::regnamespace::text
from pg_class as c join wanted on wanted.oid = c.oid
where not has_schema_privilege(%(role)s, c.relnamespace, 'USAGE')
union all
select distinct 'SEQUENCE ' || s.oid::regclass::text
from wanted
join pg_attrdef as d on d.adrelid = wanted.oid
join pg_depend as u on u.classid = 'pg_attrdef'::regclass and u.objid = d.oid and u.refclassid = 'pg_class'::regclass
join pg_class as s on s.oid = u.refobjid
where case when s.relkind = 'S' then not has_sequence_privilege(%(role)s, s.oid, 'USAGE') else false end
"""


async def role_exists(connection: Connection, name: str) -> bool:
    """Return whether the server has a role with this name."""
    async with wrap_errors():
        return bool(await fetch_value(connection, _ROLE_EXISTS, [name]))


async def list_engine_logins(connection: Connection) -> list[str]:
    """Return the logins that have the rights of the engine's role, except superusers."""
    async with wrap_errors():
        return [name for (name,) in await fetch_rows(connection, _SELECT_ENGINE_LOGINS, [ENGINE_ROLE])]


async def give_engine_access(connection: Connection, plans: Iterable[Plan]) -> list[str]:
    """Grant the engine's role the rights that it lacks on tables of the current user; return the names of those tables.

    Does nothing if the role does not exist (`dex db roles` creates it).
    """
    if not await role_exists(connection, ENGINE_ROLE):
        return []
    rights = list_table_rights(plans)
    changed = []
    async with wrap_errors(), connection.transaction():
        for table in await read_tables(connection, rights):
            if table.mine and not has_access(table, rights[table.name]):
                changed.append(table.name)
                for statement in build_access_statements(table, rights[table.name]):
                    await connection.execute(statement.encode())
        parameters = {**_spell_tables(rights), "role": ENGINE_ROLE}
        for (name,) in await fetch_rows(connection, _SELECT_DENIED, parameters):
            await connection.execute(f"GRANT USAGE ON {name} TO {ENGINE_ROLE}".encode())
    return changed


async def read_tables(connection: Connection, rights: dict[str, Rights]) -> list[TableAccess]:
    """Return the existing ones of the tables, with their owners and what the engine's role may do with them."""
    changed = [table_rights.changed_column for table_rights in rights.values()]
    parameters = {**_spell_tables(rights), "names": list(rights), "changed": changed, "role": ENGINE_ROLE}
    return await fetch_records(connection, TableAccess, _SELECT_TABLES, parameters)


def _spell_tables(rights: dict[str, Rights]) -> dict[str, list[str]]:
    return {"spelled": [spell_table(name) for name in rights]}
