"""Create, list and revoke API tokens; create and list organisations."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from psycopg import errors
from psycopg.rows import dict_row

from engine.errors import EngineError
from engine.store.caller_roles import CallerRole
from engine.store.connection import Connection, fetch_value
from engine.store.errors import UnknownOrganisation, wrap_errors

_MOST_CHARACTERS: Final = 200
#: Control characters, ends of lines, marks of text direction, and bytes of the command line that are no text.
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: The beginning of every token, by which secret scanners recognise a leaked one.
_PREFIX: Final = "dex_"

_INSERT_BY_HASH: Final = """
insert into api_tokens (org_id, company_id, user_id, name, token_hash, role, expires_at)
values (%(org_id)s, %(company_id)s, %(user_id)s, %(name)s, %(token_hash)s, %(role)s, now() + %(lifetime)s::interval)
returning id::text
"""
_LIST_TOKENS: Final = """
select t.id::text, t.org_id::text, t.company_id::text, t.user_id::text, t.name, t.role::text,
       to_jsonb(t.created_at) #>> '{}' as created_at, to_jsonb(t.expires_at) #>> '{}' as expires_at,
       to_jsonb(t.revoked_at) #>> '{}' as revoked_at, to_jsonb(t.last_used_at) #>> '{}' as last_used_at,
       case when t.revoked_at is not null then 'revoked'
            when t.expires_at <= now() then 'expired'
            when not coalesce(u.is_active, true) then 'inactive user'
            else 'good' end as state
from api_tokens t left join users u on u.id = t.user_id
where %(org_id)s::uuid is null or t.org_id = %(org_id)s::uuid
order by t.created_at, t.id
"""
_REVOKE: Final = """
update api_tokens set revoked_at = coalesce(revoked_at, now()) where id = %s::uuid returning id::text
"""
_CREATE_ORGANISATION: Final = """
insert into orgs (name, slug) values (%s, %s)
returning id::text, name, slug, to_jsonb(created_at) #>> '{}' as created_at
"""
_LIST_ORGANISATIONS: Final = """
select id::text, name, slug, to_jsonb(orgs.created_at) #>> '{}' as created_at from orgs order by orgs.created_at, id
"""


class InvalidName(EngineError):
    """The name of an organisation or a token is blank, too long, or not one line of text."""


class UnknownToken(EngineError):
    """There is no API token with this id."""


class OrganisationExists(EngineError):
    """Another organisation has this slug."""


class UnknownOwner(EngineError):
    """The company or user that the token is for does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """The owner, name and role of a token to create. Without `lifetime` it does not expire."""

    org_id: str
    name: str
    role: CallerRole
    lifetime: timedelta | None = None
    company_id: str | None = None
    user_id: str | None = None


async def create_token(connection: Connection, new: NewToken) -> tuple[str, str]:
    """Create an API token; return its id and its text, of which only a hash is stored.

    Raises InvalidName for an unusable name, UnknownOrganisation and UnknownOwner when there is no such organisation,
    company or user.
    """
    token = _PREFIX + secrets.token_urlsafe(32)
    parameters = {name: getattr(new, name) for name in NewToken.__slots__}
    parameters["name"] = check_name(new.name)
    parameters["token_hash"] = hashlib.sha256(token.encode()).hexdigest()
    async with wrap_errors():
        try:
            token_id: str = await fetch_value(connection, _INSERT_BY_HASH, parameters)
        except errors.ForeignKeyViolation as error:
            if "org" in (error.diag.constraint_name or ""):
                raise UnknownOrganisation(new.org_id) from error
            raise UnknownOwner("there is no such company or user", hint="check `--company` and `--user`") from error
    return token_id, token


async def list_tokens(connection: Connection, org_id: str | None = None) -> list[dict[str, Any]]:
    """Return the tokens of an organisation, or of all, oldest first, without text and hash."""
    async with wrap_errors():
        return await _fetch_dicts(connection, _LIST_TOKENS, {"org_id": org_id})


async def revoke_token(connection: Connection, token_id: str) -> None:
    """Revoke a token, so that its next request is refused. Raises UnknownToken when there is none of this id."""
    async with wrap_errors():
        revoked = await fetch_value(connection, _REVOKE, [token_id])
    if revoked is None:
        raise UnknownToken(f"there is no API token `{token_id}`", hint="`dex token list` names them")


async def create_organisation(connection: Connection, name: str) -> dict[str, Any]:
    """Create an organisation whose slug is made from its name; return it.

    Raises InvalidName for an unusable name, and OrganisationExists when another one has the slug.
    """
    name = check_name(name)
    slug = build_slug(name)
    async with wrap_errors():
        try:
            (row,) = await _fetch_dicts(connection, _CREATE_ORGANISATION, [name, slug])
        except errors.UniqueViolation as error:
            hint = "`dex org list` names it; choose another name"
            raise OrganisationExists(f"there is an organisation `{slug}` already", hint=hint) from error
    return row


async def list_organisations(connection: Connection) -> list[dict[str, Any]]:
    """Return id, name, slug and creation time of each organisation, oldest first."""
    async with wrap_errors():
        return await _fetch_dicts(connection, _LIST_ORGANISATIONS, [])


def check_name(name: str) -> str:
    """Return a name without blanks around it. Raises InvalidName unless it is one line of 1 to 200 characters."""
    text = name.strip()
    if not text:
        raise InvalidName("the name is blank", hint="name it so that others know what it is for")
    if len(text) > _MOST_CHARACTERS:
        raise InvalidName(
            f"the name has {len(text)} characters, and takes at most {_MOST_CHARACTERS}", hint="choose a shorter name"
        )
    if hidden := _HIDDEN.search(text):
        raise InvalidName(
            f"character {hidden.start() + 1} of the name is U+{ord(hidden[0]):04X}, which is no visible text",
            hint="write the name on one line, without control characters",
        )
    return text


def build_slug(name: str) -> str:
    """Return a name's words in lower case, joined by hyphens; `organisation` for a name without a letter or digit."""
    return re.sub(r"\W+", "-", name.lower()).strip("-_") or "organisation"


async def _fetch_dicts(connection: Connection, sql: str, parameters: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(sql, parameters)).fetchall()
