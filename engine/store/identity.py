"""Look up API tokens, super-admins and organisations in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.store.connection import Connection, fetch_rows
from engine.store.errors import UnknownOrganisation, wrap_errors

_FIND_BY_HASH = """
select t.id::text, t.org_id::text, t.company_id::text, t.role::text, t.revoked_at is not null,
       coalesce(t.expires_at <= now(), false), coalesce(not u.is_active, false),
       coalesce(t.last_used_at < now() - interval '1 minute', true)
from api_tokens t left join users u on u.id = t.user_id
where t.token_hash = %s
"""

#: The condition limits the writes to one per minute and token, even with several processes.
_RECORD_USE = """
update api_tokens set last_used_at = now()
where id = any(%s::uuid[]) and (last_used_at is null or last_used_at < now() - interval '1 minute')
"""

_IS_RETIRED_USER = "select exists (select from users where id = %s::uuid and not is_active)"

_IS_ACTIVE_ADMIN = "select exists (select from super_admins where id = %s::uuid and is_active)"

_IS_READ_ONLY = "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean"

#: About the login, whatever role it has set since.
_IS_SUPERUSER = "select rolsuper from pg_roles where rolname = session_user"

_LIST_ORGANISATIONS = """
select id::text, json_build_object('id', id, 'name', name, 'slug', slug)::text
from orgs where %(org_id)s::uuid is null or id = %(org_id)s::uuid
order by lower(name), id limit %(limit)s
"""

_ORGANISATION_EXISTS = "select exists (select from orgs where id = %s::uuid)"


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as it is stored."""

    id: str
    org_id: str
    company_id: str | None
    role: str
    revoked: bool
    expired: bool
    user_retired: bool  # whether its user is inactive
    last_use_is_old: bool  # whether its use was last recorded more than a minute ago, or never


async def find_token(connection: Connection, token_hash: str) -> Token | None:
    """Return the token with this SHA-256 hash; None if there is none."""
    async with wrap_errors():
        row = await (await connection.execute(_FIND_BY_HASH, (token_hash,))).fetchone()
    return Token(*row) if row else None


async def record_token_use(connection: Connection, token_ids: Sequence[str]) -> None:
    """Set the time of last use of tokens to now. Raises StoreUnavailable, StoreRefused on a read-only server."""
    async with wrap_errors():
        await connection.execute(_RECORD_USE, [list(token_ids)])


async def is_retired_user(connection: Connection, user_id: str) -> bool:
    """Return whether the user exists and is inactive."""
    return await _fetch_flag(connection, _IS_RETIRED_USER, user_id)


async def is_active_admin(connection: Connection, admin_id: str) -> bool:
    """Return whether the super-admin exists and is active."""
    return await _fetch_flag(connection, _IS_ACTIVE_ADMIN, admin_id)


async def fetch_is_superuser(connection: Connection) -> bool:
    """Return whether the login of the connection is a superuser."""
    async with wrap_errors():
        row = await (await connection.execute(_IS_SUPERUSER)).fetchone()
    return bool(row and row[0])


async def fetch_read_only(connection: Connection) -> bool:
    """Return whether the server is read-only."""
    async with wrap_errors():
        row = await (await connection.execute(_IS_READ_ONLY)).fetchone()
    return bool(row and row[0])


async def list_organisations(connection: Connection, org_id: str | None, limit: int) -> list[str]:
    """Return organisations as JSON texts, by name: only the one called `org_id`, or at most `limit` if that is None."""
    return [text for _, text in await _fetch_organisations(connection, org_id, limit)]


async def list_first_organisations(connection: Connection, limit: int) -> list[str]:
    """Return the ids of the first `limit` organisations by name."""
    return [org_id for org_id, _ in await _fetch_organisations(connection, None, limit)]


async def _fetch_organisations(connection: Connection, org_id: str | None, limit: int) -> list[tuple[str, str]]:
    """Return the id and the JSON text of each organisation that `list_organisations` returns."""
    async with wrap_errors():
        return await fetch_rows(connection, _LIST_ORGANISATIONS, {"org_id": org_id, "limit": limit})


async def organisation_exists(connection: Connection, org_id: str) -> bool:
    """Return whether there is an organisation with this id."""
    return await _fetch_flag(connection, _ORGANISATION_EXISTS, org_id)


async def check_organisation(connection: Connection, org_id: str) -> None:
    """Raise UnknownOrganisation if no organisation has this id.

    Call it only after a statement failed or found nothing, so that usually it costs no query.
    """
    if not await organisation_exists(connection, org_id):
        raise UnknownOrganisation(org_id)


async def _fetch_flag(connection: Connection, sql: str, row_id: str) -> bool:
    async with wrap_errors():
        row = await (await connection.execute(sql, (row_id,))).fetchone()
    return bool(row and row[0])
