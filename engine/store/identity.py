"""Credentials that only the database knows.

In: the SHA-256 of a token, the id of a super-admin. Out: what the database says of them. It must not know headers, nor
the token itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from engine.store.errors import wrap

#: `touched` writes at most once a minute and token, so that a busy token does not cost a write per call.
_FIND = """
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

_RETIRED = "select exists (select from super_admins where id = %s::uuid and not is_active)"


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as it is stored."""

    id: str
    org_id: str
    company_id: str | None
    role: str
    revoked: bool
    expired: bool


async def find(connection: AsyncConnection[Any], token_hash: str) -> Token | None:
    """Return the token of that hash, None when there is none, and note that it was used.

    Raises StoreUnavailable.
    """
    async with wrap():
        row = await (await connection.execute(_FIND, (token_hash,))).fetchone()
    return Token(*row) if row else None


async def is_retired(connection: AsyncConnection[Any], admin_id: str) -> bool:
    """Whether the super-admin is on record and not active. Raises StoreUnavailable."""
    async with wrap():
        row = await (await connection.execute(_RETIRED, (admin_id,))).fetchone()
    return bool(row and row[0])
