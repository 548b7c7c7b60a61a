"""Look up the API tokens, super-admins and organisations that exist in the database."""

from __future__ import annotations

from dataclasses import dataclass

from engine.store.connection import Connection
from engine.store.errors import UnknownOrganisation, wrap_errors

#: `touched` writes at most once a minute and token, so that a busy token does not cost a write per call.
_FIND_BY_HASH = """
with found as (
    select id, org_id, company_id, role::text as role, last_used_at,
           revoked_at is not null as revoked,
           coalesce(expires_at <= now(), false) as expired
    from api_tokens where token_hash = %s
), touched as (
    update api_tokens set last_used_at = now()
    from found
    where api_tokens.id = found.id and not found.revoked and not found.expired
      and (api_tokens.last_used_at is null or api_tokens.last_used_at < now() - interval '1 minute')
)
select id::text, org_id::text, company_id::text, role, revoked, expired from found
"""

_IS_RETIRED_ADMIN = "select exists (select from super_admins where id = %s::uuid and not is_active)"

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


async def find_token(connection: Connection, token_hash: str) -> Token | None:
    """Return the token with this SHA-256 hash, None when there is none, and update the time of its last use.

    Raises StoreUnavailable.
    """
    async with wrap_errors():
        row = await (await connection.execute(_FIND_BY_HASH, (token_hash,))).fetchone()
    return Token(*row) if row else None


async def is_retired_admin(connection: Connection, admin_id: str) -> bool:
    """Return whether the super-admin is in the database and not active. Raises StoreUnavailable."""
    return await _fetch_flag(connection, _IS_RETIRED_ADMIN, admin_id)


async def organisation_exists(connection: Connection, org_id: str) -> bool:
    """Return whether there is an organisation with this id. Raises StoreUnavailable."""
    return await _fetch_flag(connection, _ORGANISATION_EXISTS, org_id)


async def check_organisation(connection: Connection, org_id: str) -> None:
    """Raise UnknownOrganisation when there is no organisation with this id.

    Called where a statement failed or found nothing, so that the common case costs no query.
    """
    if not await organisation_exists(connection, org_id):
        raise UnknownOrganisation(org_id)


async def _fetch_flag(connection: Connection, sql: str, row_id: str) -> bool:
    async with wrap_errors():
        row = await (await connection.execute(sql, (row_id,))).fetchone()
    return bool(row and row[0])
