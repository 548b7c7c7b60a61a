"""Create the logins of an installation: one that migrates and owns the tables, one for the API that owns nothing.

The API's login has the rights of `dex_engine` on the tables and may become `dex_tenant`. Roles belong to the whole
server, rights to one database, so this has to run in each database. What is right already is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from engine.errors import EngineError
from engine.plan import Plan
from engine.sql.tenant import ENGINE_ROLE, TENANT_ROLE
from engine.store.connection import Connection, fetch_records, fetch_row, fetch_rows
from engine.store.errors import wrap_errors
from engine.tables.ddl import spell_table
from engine.tables.engine_access import give_engine_access, read_tables, role_exists
from engine.tables.engine_rights import PLAIN_FUNCTIONS, list_table_rights

_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('dex db roles', 0))"
_DATABASE: Final = "select current_database()::text, current_schema()::text, current_setting('server_version_num')::int"
_SELECT_ROLE: Final = """
select r.rolname::text as name, r.rolcanlogin as login, r.rolsuper as superuser,
       r.rolsuper or r.rolbypassrls as unbound,
       array(
           select other.rolname::text from pg_roles as other
           where other.oid <> r.oid and not r.rolsuper and pg_has_role(r.oid, other.oid, 'MEMBER') order by 1
       ) as member_of,
       (select count(*) from pg_class where relowner = r.oid and relkind in ('r', 'p', 'v')
           and relpersistence <> 't') as owns
from pg_roles as r where r.rolname = %s
"""
#: The tables of specs, recognised by the triggers that record changes; their specs may no longer be in the project.
_SELECT_FOLLOWED: Final = """
select distinct c.oid::regclass::text, pg_get_userbyid(c.relowner)::text
from pg_trigger as t join pg_proc as p on p.oid = t.tgfoid join pg_class as c on c.oid = t.tgrelid
where p.proname = 'note_changed_rows'
"""
#: What has the wrong owner: functions of triggers on our tables, and the functions named by the caller.
_SELECT_FUNCTIONS: Final = """
select p.oid::regprocedure::text
from pg_proc as p
where p.pronamespace = current_schema()::regnamespace and pg_get_userbyid(p.proowner) <> %(owner)s
  and (p.proname = any(%(names)s) or p.oid in (
      select t.tgfoid from pg_trigger as t join unnest(%(tables)s::text[]) as name on t.tgrelid = to_regclass(name)
  ))
order by 1
"""
#: Sequences that column defaults use without being owned by a column (owned ones follow the owner of their table).
_SELECT_SEQUENCES: Final = """
select distinct s.oid::regclass::text
from unnest(%(tables)s::text[]) as name
join pg_attrdef as d on d.adrelid = to_regclass(name)
join pg_depend as u on u.classid = 'pg_attrdef'::regclass and u.objid = d.oid and u.refclassid = 'pg_class'::regclass
join pg_class as s on s.oid = u.refobjid
where s.relkind = 'S' and pg_get_userbyid(s.relowner) <> %(owner)s
"""
_MISSING_DATABASE_RIGHTS: Final = """
select privilege from unnest(%(privileges)s::text[]) as privilege
where not has_database_privilege(%(role)s, current_database(), privilege)
"""
_MISSING_SCHEMA_RIGHTS: Final = """
select privilege from unnest(%(privileges)s::text[]) as privilege
where not has_schema_privilege(%(role)s, current_schema(), privilege)
"""


class RolesRefused(EngineError):
    """The logins cannot be created, or an existing role has the wrong attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role: whether it can log in, what it is a member of, how many tables and views it owns in this database."""

    name: str
    login: bool
    superuser: bool
    unbound: bool  # row level security does not restrict it
    member_of: list[str]
    owns: int

    def as_dict(self) -> dict[str, Any]:
        """Return the role as `dex db roles --json` prints it."""
        return {"role": self.name, "login": self.login, "member_of": self.member_of, "owns": self.owns}


@dataclass(slots=True)
class RolesReport:
    """The roles as they are now, and a sentence for each change that was made."""

    roles: list[Role] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Login:
    """A login to create. Without a password it keeps the one it has."""

    name: str
    password: str | None = field(default=None, repr=False)


async def make_roles(
    connection: Connection,
    migrating: Login,
    serving: Login,
    plans: Sequence[Plan],
    keep_passwords: Callable[[], None] = lambda: None,
) -> RolesReport:
    """Create both logins and grant them their rights in this database; return what was done.

    `keep_passwords` is called before the commit: if it raises, no login exists whose password is lost. Raises
    RolesRefused when a login cannot be created, or has the wrong rights; then nothing is changed.
    """
    report = RolesReport()
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
            await _make_roles(connection, migrating, serving, plans, report)
            keep_passwords()
    except psycopg.errors.InsufficientPrivilege as error:
        raise RolesRefused(
            f"the login of `DATABASE_URL` may not do that: {error.diag.message_primary}",
            hint="run it as a superuser, or as a role with CREATEROLE that owns the database and its tables",
        ) from error
    async with wrap_errors():
        for name in (migrating.name, serving.name, ENGINE_ROLE, TENANT_ROLE):
            role = await read_role(connection, name)
            assert role is not None
            report.roles.append(role)
    return report


async def read_role(connection: Connection, name: str) -> Role | None:
    """Return a role of the server; None if there is none with this name."""
    return next(iter(await fetch_records(connection, Role, _SELECT_ROLE, [name])), None)


async def _make_roles(
    connection: Connection, migrating: Login, serving: Login, plans: Sequence[Plan], report: RolesReport
) -> None:
    database, schema, version = await fetch_row(connection, _DATABASE)
    for group in (TENANT_ROLE, ENGINE_ROLE):
        if not await role_exists(connection, group):
            await _execute_ddl(connection, "create role {} nologin", group)
            report.done.append(f"made the role {group}, which nobody logs in as")
    for login in (migrating, serving):
        await _make_login(connection, login, report)
    await _grant_membership(connection, TENANT_ROLE, migrating.name, report)
    await _grant_membership(
        connection, TENANT_ROLE, serving.name, report, " with inherit false" if version >= 160000 else ""
    )
    await _grant_membership(
        connection, ENGINE_ROLE, serving.name, report, " with set false" if version >= 160000 else ""
    )
    await _grant_privileges(
        connection, "database", database, migrating.name, ["CONNECT", "CREATE", "TEMPORARY"], report
    )
    await _grant_privileges(connection, "database", database, serving.name, ["CONNECT", "TEMPORARY"], report)
    await _grant_privileges(connection, "schema", schema, migrating.name, ["USAGE", "CREATE"], report)
    # Who may not grant it: a migration's GRANT is then a mere warning, and the tenant's role finds no table.
    for group in (ENGINE_ROLE, TENANT_ROLE):
        await _grant_privileges(connection, "schema", schema, group, ["USAGE"], report)
    await _hand_over(connection, migrating.name, plans, report)
    if changed := await give_engine_access(connection, plans):
        report.done.append(f"gave {ENGINE_ROLE} its rights on {', '.join(changed)}")


async def _make_login(connection: Connection, login: Login, report: RolesReport) -> None:
    role = await read_role(connection, login.name)
    if role is not None and role.unbound:
        raise RolesRefused(
            f"the role `{login.name}` is a superuser or bypasses row level security",
            hint="name another login, or take that from it with ALTER ROLE",
        )
    if role is None:
        await _execute_ddl(connection, "create role {} login nosuperuser nocreatedb nocreaterole", login.name)
        report.done.append(f"made the login {login.name}")
    elif not role.login:
        await _execute_ddl(connection, "alter role {} login", login.name)
        report.done.append(f"let {login.name} log in")
    if login.password is not None:
        # Hashed here, since a statement with the password itself could end up in the server's log.
        name, password = login.name.encode(), login.password.encode()
        secret = connection.pgconn.encrypt_password(password, name, b"scram-sha-256").decode()
        await connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(login.name), secret))
        report.done.append(f"set the password of {login.name}")


async def _grant_membership(
    connection: Connection, group: str, member: str, report: RolesReport, options: str = ""
) -> None:
    role = await read_role(connection, member)
    if role is not None and group in role.member_of:
        return
    await _execute_ddl(connection, f"grant {{}} to {{}}{options}", group, member)
    report.done.append(f"made {member} a member of {group}")


async def _grant_privileges(
    connection: Connection, kind: str, name: str, role: str, privileges: list[str], report: RolesReport
) -> None:
    query = _MISSING_DATABASE_RIGHTS if kind == "database" else _MISSING_SCHEMA_RIGHTS
    rows = await fetch_rows(connection, query, {"role": role, "privileges": privileges})
    missing = [privilege for (privilege,) in rows]
    if missing:
        await _execute_ddl(connection, f"grant {', '.join(missing)} on {kind} {{}} to {{}}", name, role)
        report.done.append(f"gave {role} {', '.join(missing)} on the {kind} {name}")


async def _hand_over(connection: Connection, owner: str, plans: Sequence[Plan], report: RolesReport) -> None:
    """Make the migrating login the owner of the tables and functions that a superuser owns."""
    rights = list_table_rights(plans)
    owners = {spell_table(table.name): table.owner for table in await read_tables(connection, rights)}
    owners |= dict(await fetch_rows(connection, _SELECT_FOLLOWED))
    foreign = {table: name for table, name in owners.items() if name != owner}
    for name in sorted(set(foreign.values())):
        role = await read_role(connection, name)
        if role is None or not role.superuser:
            raise RolesRefused(
                f"the tables belong to `{name}`, which is no superuser: others may work with them as that role",
                hint=f"`dex db roles --migrate-login {name}` keeps it as the login that migrates",
            )
    for table in foreign:
        await _execute_ddl(connection, f"alter table {table} owner to {{}}", owner)
    parameters = {"owner": owner, "names": list(PLAIN_FUNCTIONS), "tables": list(owners)}
    for (sequence,) in await fetch_rows(connection, _SELECT_SEQUENCES, parameters):
        await _execute_ddl(connection, f"alter sequence {sequence} owner to {{}}", owner)
    functions = await fetch_rows(connection, _SELECT_FUNCTIONS, parameters)
    for (function,) in functions:
        await _execute_ddl(connection, f"alter function {function} owner to {{}}", owner)
    if foreign or functions:
        report.done.append(f"made {owner} the owner of {len(foreign)} table(s) and {len(functions)} function(s)")


async def _execute_ddl(connection: Connection, text: str, *names: str) -> None:
    """Execute DDL with the quoted names in its placeholders."""
    await connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))
