"""Who is calling, and for which organisation.

In: the headers of a request, and the settings that hold the secrets. Out: a Caller, or the 401 / 403 / 400 that says
what is missing. It must not know what the caller wants to do.

A bearer is looked at in this order: internal key, super-admin (static key, then JWT), session JWT, API token. What has
the form of a JWT is never looked up as a token, so a forged one costs no query.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from jwt.warnings import InsecureKeyLengthWarning
from starlette.requests import Request

from api.context import Context
from api.http.errors import Fault
from engine.store import identity

#: Told once by the start (`telemetry.warn_of_weak_secrets`), not at each request.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

ORG_HEADER = "x-internal-org-id"
COMPANY_HEADER = "x-internal-company-id"
ALGORITHMS = ["HS256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever asks. `org_id` is None for a super-admin until the body names one."""

    kind: str  # "internal" | "super_admin" | "session" | "token"
    org_id: str | None
    company_id: str | None = None
    role: str = "org_admin"
    subject: str | None = None


def unauthorized(message: str, *, code: str, hint: str = "") -> Fault:
    """Return a 401."""
    return Fault(401, code, message, hint=hint, headers={"www-authenticate": "Bearer"})


def bearer(request: Request) -> str:
    """Return the bearer of the request. Raises Fault 401 when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        raise unauthorized(
            "Missing authorization token", code="missing_token", hint="send `Authorization: Bearer <key or token>`"
        )
    return value.strip()


def require_internal_key(request: Request, context: Context) -> None:
    """Let pass whoever holds the internal key. Raises Fault 401 for everyone else."""
    if not same(bearer(request), context.settings.internal_api_key):
        raise unauthorized(
            "Invalid internal API key", code="invalid_internal_key", hint="send the value of `INTERNAL_API_KEY`"
        )


def require_organisation(request: Request) -> str:
    """Return the organisation the internal caller acts for. Raises Fault 401 without it, 400 when it is no UUID."""
    value = request.headers.get(ORG_HEADER)
    if not value:
        raise unauthorized(
            "Missing x-internal-org-id for internal authorization",
            code="missing_organisation",
            hint=f"send the organisation's UUID in `{ORG_HEADER}`",
        )
    return header_uuid(ORG_HEADER, value)


def named_organisation(request: Request) -> str | None:
    """Return the organisation an internal caller names, if it names one. Raises Fault 400 when it is no UUID."""
    value = request.headers.get(ORG_HEADER)
    return None if value is None else header_uuid(ORG_HEADER, value)


async def resolve_flexible_auth(request: Request, context: Context) -> Caller:
    """Return the super-admin or the tenant who asks. Raises Fault 401 when the bearer is neither."""
    value = bearer(request)
    if not same(value, context.settings.internal_api_key):
        admin = await _super_admin(value, context)
        if admin:
            return admin
    return await resolve_tenant(request, context)


async def resolve_tenant(request: Request, context: Context) -> Caller:
    """Return the tenant who asks: internal key with an organisation, session JWT, or API token. Raises Fault 401."""
    value = bearer(request)
    if same(value, context.settings.internal_api_key):
        org_id = require_organisation(request)
        company_id = request.headers.get(COMPANY_HEADER)
        company = None if company_id is None else header_uuid(COMPANY_HEADER, company_id)
        return Caller(kind="internal", org_id=org_id, company_id=company)
    if _is_jwt(value):
        return _session(_claims(value, context.settings.jwt_secret))
    return await _token(value, context)


def choose_organisation(caller: Caller, named: str | None) -> str:
    """Return the organisation a query is about; `named` is the body's `org_id`.

    Raises Fault 400 when a super-admin names none, 403 when a tenant names another than its own.
    """
    if caller.org_id is None:
        if named is None:
            raise Fault(
                400,
                "org_id_required",
                "org_id is required for super-admin queries",
                hint="name the organisation in the body's `org_id`",
            )
        return named
    if named is not None and named != caller.org_id:
        raise Fault(
            403,
            "other_organisation",
            "`org_id` names another organisation than yours",
            hint="leave `org_id` out: your token says whose rows you see",
        )
    return caller.org_id


def same(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), secret.encode())


def header_uuid(name: str, value: str) -> str:
    """Return `value` as a canonical UUID. Raises Fault 400 when it is none."""
    text = as_uuid(value)
    if text is None:
        raise Fault(400, "invalid_header", f"`{name}` is not a UUID", hint="send the id as it stands in the database")
    return text


def as_uuid(value: Any) -> str | None:
    """Return `value` as a canonical UUID, None when it is none."""
    if not isinstance(value, str):
        return None
    try:
        return str(uuid.UUID(value)) if len(value) in (32, 36) else None
    except ValueError:
        return None


async def _super_admin(value: str, context: Context) -> Caller | None:
    settings = context.settings
    if settings.super_admin_api_key and same(value, settings.super_admin_api_key):
        return Caller(kind="super_admin", org_id=None, role="super_admin")
    if not settings.super_admin_jwt_secret or not _is_jwt(value):
        return None
    try:
        claims = _claims(value, settings.super_admin_jwt_secret)
    except Fault:
        return None  # a session JWT is signed with another secret: the tenant's door looks at it next
    if claims.get("type") != "super_admin":
        return None
    subject = as_uuid(claims.get("sub"))
    if subject and await _is_retired(context, subject):
        raise unauthorized("Super-admin is not active", code="inactive_super_admin")
    return Caller(kind="super_admin", org_id=None, role="super_admin", subject=subject)


async def _is_retired(context: Context, admin_id: str) -> bool:
    async with context.connection() as connection:
        return await identity.is_retired(connection, admin_id)


def _is_jwt(value: str) -> bool:
    """Whether it has the form of a JWT: three parts, the first of which names an algorithm."""
    head, *rest = value.split(".")
    try:
        words = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, msgspec.DecodeError):
        return False
    return len(rest) == 2 and isinstance(words, dict) and "alg" in words


def _claims(value: str, secret: str) -> dict[str, Any]:
    try:
        return jwt.decode(value, secret, algorithms=ALGORITHMS, options={"require": ["exp"], "verify_aud": False})
    except jwt.ExpiredSignatureError as error:
        raise unauthorized("Session token has expired", code="expired_token", hint="sign in again") from error
    except jwt.MissingRequiredClaimError as error:
        raise unauthorized(f"Session token lacks `{error.claim}`", code="invalid_token") from error
    except jwt.InvalidTokenError as error:
        raise unauthorized("Invalid session token", code="invalid_token", hint="sign in again") from error


def _session(claims: Mapping[str, Any]) -> Caller:
    if claims.get("type") != "session":
        raise unauthorized("Invalid JWT type for tenant endpoints", code="invalid_token_type")
    subject, org_id = claims.get("sub"), as_uuid(claims.get("org_id"))
    if not subject or org_id is None:
        raise unauthorized("Session token lacks `sub` or a valid `org_id`", code="invalid_token")
    company_id = claims.get("company_id")
    company = as_uuid(company_id)
    if company_id is not None and company is None:
        raise unauthorized("Session token holds an invalid `company_id`", code="invalid_token")
    role = claims.get("role")
    return Caller(kind="session", org_id=org_id, company_id=company, role=str(role or "member"), subject=str(subject))


async def _token(value: str, context: Context) -> Caller:
    async with context.connection() as connection:
        found = await identity.find(connection, hashlib.sha256(value.encode()).hexdigest())
    if found is None:
        raise unauthorized("Invalid API token", code="invalid_token", hint="check that the whole token was sent")
    if found.revoked:
        raise unauthorized("API token has been revoked", code="revoked_token", hint="make a new token")
    if found.expired:
        raise unauthorized("API token has expired", code="expired_token", hint="make a new token")
    return Caller(kind="token", org_id=found.org_id, company_id=found.company_id, role=found.role, subject=found.id)
