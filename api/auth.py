"""Authenticate the caller of a request, and find the organisation to act for.

A bearer token is tried as: internal key, super-admin (static key, then JWT), session JWT, API token. A token in the
form of a JWT is never looked up as an API token, so that a forged JWT causes no query.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt
import msgspec
import structlog
from jwt.warnings import InsecureKeyLengthWarning
from starlette.requests import Request

from api.context import Context
from api.http.errors import Fault, Unauthorized
from engine.store import identity
from engine.store.caller_roles import SPENDERS, CallerRole
from engine.values.uuid_text import parse_uuid

#: PyJWT's warning about short secrets is switched off: `load_settings` rejects them at the start.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

log = structlog.get_logger("api")

ORG_HEADER = "x-internal-org-id"
COMPANY_HEADER = "x-internal-company-id"
ALGORITHMS = ["HS256"]
#: Seconds by which the clock of who issued a JWT may be ahead of ours: otherwise a clock that is a little behind would
#: refuse every session at its beginning. A JWT ends when it says so.
_CLOCK_DIFFERENCE = 30
_CLAIMS_HINT = (
    "a session has the claims `type` (`session`), `sub`, `org_id` (a UUID) and `exp`, and may have `role` and"
    " `company_id` (a UUID)"
)


class CallerKind(StrEnum):
    """The kind of credentials that a caller authenticated with."""

    INTERNAL = "internal"
    SUPER_ADMIN = "super_admin"
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a kind of caller, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The authenticated caller. `org_id` is None for a super-admin, who names an organisation in each request."""

    kind: CallerKind
    org_id: str | None
    company_id: str | None = None
    role: str = CallerRole.ORG_ADMIN
    subject: str | None = None


def read_bearer(request: Request) -> str:
    """Return the bearer token of the `Authorization` header. Raises Unauthorized when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise Unauthorized(
            "missing_token", "Missing authorization token", hint="send `Authorization: Bearer <key or token>`"
        )
    return value.strip()


def require_internal_key(request: Request, context: Context) -> None:
    """Raise Unauthorized unless the bearer token is the internal key."""
    if not is_internal_key(read_bearer(request), context):
        raise Unauthorized(
            "invalid_internal_key", "Invalid internal API key", hint="send the value of `INTERNAL_API_KEY`"
        )


def read_organisation(request: Request) -> str:
    """Return the UUID in the organisation header. Raises Fault 401 when it is missing, 400 when it is not a UUID."""
    value = request.headers.get(ORG_HEADER)
    if not value:
        raise Unauthorized(
            "missing_organisation",
            "Missing x-internal-org-id for internal authorization",
            hint=f"send the organisation's UUID in `{ORG_HEADER}`",
        )
    return parse_header_uuid(ORG_HEADER, value)


def read_optional_organisation(request: Request) -> str | None:
    """Return the UUID in the organisation header, None if there is none. Raises Fault 400 when it is not a UUID."""
    value = request.headers.get(ORG_HEADER)
    return None if value is None else parse_header_uuid(ORG_HEADER, value)


async def authenticate_tenant_or_admin(request: Request, context: Context) -> Caller:
    """Return the caller: a super-admin or a tenant. Raises Unauthorized when the bearer token belongs to neither."""
    value = read_bearer(request)
    if not is_internal_key(value, context):
        admin = await _authenticate_admin(value, context)
        if admin:
            return admin
    return await _authenticate_tenant(request, context)


async def authenticate_tenant(request: Request, context: Context) -> Caller:
    """Return the calling tenant. Raises Unauthorized when the bearer token is no tenant's, but a super-admin's, say."""
    caller = await authenticate_tenant_or_admin(request, context)
    if caller.kind is CallerKind.SUPER_ADMIN:
        raise Unauthorized(
            "tenant_required",
            "a super-admin's credentials are not accepted here",
            hint="send an API token of the organisation (`dex token create`), a session JWT, or the internal key with"
            f" `{ORG_HEADER}`",
        )
    return caller


async def _authenticate_tenant(request: Request, context: Context) -> Caller:
    """Return the calling tenant, known by internal key and organisation header, by session JWT or by API token.

    Raises Unauthorized when none of them is valid.
    """
    value = read_bearer(request)
    if is_internal_key(value, context):
        org_id = read_organisation(request)
        company_id = request.headers.get(COMPANY_HEADER)
        company = None if company_id is None else parse_header_uuid(COMPANY_HEADER, company_id)
        return Caller(kind=CallerKind.INTERNAL, org_id=org_id, company_id=company)
    if _is_jwt(value):
        caller = _build_session_caller(_decode_jwt(value, context.settings.jwt_secrets))
        await _check_user(caller, context)
        return caller
    return await _authenticate_token(value, _find_address(request), context)


def choose_organisation(caller: Caller, named: str | None) -> str:
    """Return the organisation of a request: the caller's own or, for a super-admin, `named` (the request's `org_id`).

    Raises Fault 400 when a super-admin names none, 403 when a tenant names one that is not its own.
    """
    if caller.org_id is None:
        if named is None:
            raise Fault(
                "org_id_required",
                "org_id is required for super-admin queries",
                hint="name the organisation in `org_id`: of the body, or of the query string of a GET",
            )
        return named
    if named is not None and named != caller.org_id:
        raise Fault(
            "other_organisation",
            "`org_id` names another organisation than yours",
            hint="leave `org_id` out: your token says whose rows you see",
        )
    return caller.org_id


def require_spender(caller: Caller) -> None:
    """Raise Fault 403 unless the caller's role may start paid work."""
    if caller.role not in SPENDERS:
        raise Fault(
            "may_not_spend",
            f"the role `{caller.role[:40]}` may not start paid work",
            hint=f"use a token with the role {' or '.join(f'`{role}`' for role in SPENDERS)}",
        )


def is_same_secret(sent: str, secret: str) -> bool:
    """Return whether two secrets are equal, in constant time, so that the duration reveals nothing about them."""
    return hmac.compare_digest(sent.encode(), secret.encode())


def is_internal_key(token: str, context: Context) -> bool:
    """Return whether a bearer token is the internal key, or the previous one during its replacement."""
    return True in [is_same_secret(token, key) for key in context.settings.internal_api_keys]  # not lazy


def parse_header_uuid(name: str, value: str) -> str:
    """Return the canonical text of the UUID in a header. Raises Fault 400 when `value` is not a UUID."""
    text = parse_uuid(value)
    if text is None:
        raise Fault("invalid_header", f"`{name}` is not a UUID", hint="send the id as the database has it")
    return text


async def _authenticate_admin(value: str, context: Context) -> Caller | None:
    settings = context.settings
    if settings.super_admin_api_key and is_same_secret(value, settings.super_admin_api_key):
        return Caller(kind=CallerKind.SUPER_ADMIN, org_id=None, role="super_admin")
    if not settings.super_admin_jwt_secret or not _is_jwt(value):
        return None
    try:
        claims = _decode_jwt(value, (settings.super_admin_jwt_secret,))
    except Fault as fault:
        if fault.code == "expired_token":
            raise
        return None  # possibly a session JWT, signed with another secret: `authenticate_tenant` decodes those
    if claims.get("type") != "super_admin":
        return None
    subject = parse_uuid(claims.get("sub"))
    if subject is None or not await _is_active_admin(context, subject):
        raise Unauthorized("inactive_super_admin", "super-admin is not active", hint="activate it first")
    return Caller(kind=CallerKind.SUPER_ADMIN, org_id=None, role="super_admin", subject=subject)


async def _is_active_admin(context: Context, admin_id: str) -> bool:
    async with context.connection() as connection:
        return await identity.is_active_admin(connection, admin_id)


async def _check_user(caller: Caller, context: Context) -> None:
    """Raise Unauthorized when the user of a session is in the database and is not active."""
    user_id = parse_uuid(caller.subject)
    if user_id is None:
        return
    async with context.connection() as connection:
        if await identity.is_retired_user(connection, user_id):
            raise Unauthorized("inactive_user", "user is not active", hint="use the credentials of an active user")


def _is_jwt(value: str) -> bool:
    """Return whether a bearer token has the form of a JWT: three parts, the first of which names an algorithm."""
    head, *rest = value.split(".")
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return False
    return len(rest) == 2 and isinstance(header, dict) and "alg" in header


def _decode_jwt(value: str, secrets: Sequence[str]) -> dict[str, Any]:
    """Return the claims of a JWT signed with one of `secrets`. Raises Unauthorized when it is invalid or expired."""
    try:
        return _verify_jwt(value, secrets)
    except jwt.ExpiredSignatureError as error:
        raise Unauthorized("expired_token", "Session token has expired", hint="sign in again") from error
    except jwt.MissingRequiredClaimError as error:
        raise Unauthorized("invalid_token", f"Session token lacks `{error.claim}`", hint=_CLAIMS_HINT) from error
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise Unauthorized("invalid_token", "Invalid session token", hint="sign in again") from error


def _verify_jwt(value: str, secrets: Sequence[str]) -> dict[str, Any]:
    """Return the claims of a JWT, verified with the first secret that fits. Raises PyJWT's error if none does."""
    for secret in secrets[:-1]:
        with suppress(jwt.InvalidSignatureError):
            return _decode_with(value, secret)
    return _decode_with(value, secrets[-1])


def _decode_with(value: str, secret: str) -> dict[str, Any]:
    claims = jwt.decode(
        value,
        secret,
        algorithms=ALGORITHMS,
        options={"require": ["exp"], "verify_aud": False},
        leeway=_CLOCK_DIFFERENCE,
    )
    if int(claims["exp"]) <= time.time():
        raise jwt.ExpiredSignatureError
    return claims


def _build_session_caller(claims: Mapping[str, Any]) -> Caller:
    if claims.get("type") != "session":
        raise Unauthorized("invalid_token_type", "Invalid JWT type for tenant endpoints", hint=_CLAIMS_HINT)
    subject, org_id = claims.get("sub"), parse_uuid(claims.get("org_id"))
    if not subject or org_id is None:
        raise Unauthorized("invalid_token", "Session token lacks `sub` or a valid `org_id`", hint=_CLAIMS_HINT)
    company_id = claims.get("company_id")
    company = parse_uuid(company_id)
    if company_id is not None and company is None:
        raise Unauthorized("invalid_token", "Session token holds an invalid `company_id`", hint=_CLAIMS_HINT)
    role = str(claims.get("role") or CallerRole.MEMBER)
    return Caller(
        kind=CallerKind.SESSION,
        org_id=org_id,
        company_id=company,
        role=role,
        subject=str(subject),
    )


async def _authenticate_token(value: str, address: str, context: Context) -> Caller:
    """Return the tenant of an API token. Raises Unauthorized when the token is unknown, revoked or expired.

    Guessing tokens must not load the database: after too many unknown tokens from an address, a token that was not
    valid lately raises Fault 429 without a query.
    """
    token_hash = hashlib.sha256(value.encode()).hexdigest()
    if context.failed_tokens.is_empty(address) and not context.token_use.is_known(token_hash):
        raise _build_too_many_failures(context, address)
    async with context.connection() as connection:
        token = await identity.find_token(connection, token_hash)
    if token is None:
        context.failed_tokens.take_token(address)
        context.token_use.forget_token(token_hash)
        raise Unauthorized("invalid_token", "Invalid API token", hint="check that the whole token was sent")
    if token.revoked:
        raise Unauthorized("revoked_token", "API token has been revoked", hint="make a new token")
    if token.expired:
        raise Unauthorized("expired_token", "API token has expired", hint="make a new token")
    if token.user_retired:
        raise Unauthorized("inactive_user", "user of the API token is not active", hint="make a token for another user")
    context.token_use.record_use(token_hash, token)
    return Caller(
        kind=CallerKind.TOKEN, org_id=token.org_id, company_id=token.company_id, role=token.role, subject=token.id
    )


def _build_too_many_failures(context: Context, address: str) -> Fault:
    log.warning("limit reached", limit="failed_tokens_per_minute", address=address)
    return Fault(
        "too_many_failures",
        "too many unknown API tokens came from your address",
        hint="try again later, with a valid token",
        headers={"retry-after": str(context.failed_tokens.find_wait(address))},
    )


def _find_address(request: Request) -> str:
    return request.client.host if request.client else ""
