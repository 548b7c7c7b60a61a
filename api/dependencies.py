"""What endpoints get by FastAPI's `Depends`: the context of the app, and the caller.

The parameters for headers and security schemes only describe an endpoint; `api.auth` reads the headers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from api.auth import (
    COMPANY_HEADER,
    ORG_HEADER,
    Caller,
    authenticate_tenant,
    authenticate_tenant_or_admin,
    read_optional_organisation,
    require_internal_key,
    require_spender,
)
from api.context import Context, get_context
from api.http.models import HeaderId, Omittable

_INTERNAL = HTTPBearer(scheme_name="internalKey", description="The value of `INTERNAL_API_KEY`.", auto_error=False)
_TENANT = HTTPBearer(
    scheme_name="tenant",
    description="A session JWT, an API token, or the internal key with `x-internal-org-id`.",
    auto_error=False,
)
_SUPER_ADMIN = HTTPBearer(
    scheme_name="superAdmin", description="The static key or a JWT of type `super_admin`.", auto_error=False
)

_InternalKey = Annotated[Any, Security(_INTERNAL)]
_TenantToken = Annotated[Any, Security(_TENANT)]
_AdminToken = Annotated[Any, Security(_SUPER_ADMIN)]
_ActingOrganisation = Annotated[
    Omittable[HeaderId], Header(alias=ORG_HEADER, description="With the internal key: the organisation to act for.")
]
_ActingCompany = Annotated[
    Omittable[HeaderId], Header(alias=COMPANY_HEADER, description="With the internal key: the company to act for.")
]


async def provide_context(request: Request) -> Context:
    """Return what the endpoints of the app share."""
    return get_context(request)


async def require_internal(request: Request, key: _InternalKey = None) -> None:
    """Raise Fault 401 unless the caller sends the internal key."""
    require_internal_key(request, get_context(request))


async def require_organisation(
    request: Request,
    key: _InternalKey,
    org_id: Annotated[HeaderId, Header(alias=ORG_HEADER, description="The organisation the row belongs to.")],
) -> None:
    """Describe, for the OpenAPI document, an endpoint that takes the internal key and an organisation."""


async def find_named_organisation(
    request: Request,
    key: _InternalKey,
    org_id: Annotated[
        Omittable[HeaderId], Header(alias=ORG_HEADER, description="When sent, only of this organisation.")
    ] = None,
) -> str | None:
    """Return the organisation in the header, None without one. Raises Fault 401 unless the internal key is sent."""
    require_internal_key(request, get_context(request))
    return read_optional_organisation(request)


async def find_tenant(
    request: Request, token: _TenantToken = None, org_id: _ActingOrganisation = None, company_id: _ActingCompany = None
) -> Caller:
    """Return the calling tenant. Raises Fault 401 for any other caller."""
    return await _authenticate_once(request, authenticate_tenant)


async def find_spender(
    request: Request, token: _TenantToken = None, org_id: _ActingOrganisation = None, company_id: _ActingCompany = None
) -> Caller:
    """Return the calling tenant. Raises Fault 401 for any other caller, and 403 unless its role may start paid work."""
    caller = await _authenticate_once(request, authenticate_tenant)
    require_spender(caller)
    return caller


async def find_reader(
    request: Request,
    token: _TenantToken = None,
    admin: _AdminToken = None,
    org_id: _ActingOrganisation = None,
    company_id: _ActingCompany = None,
) -> Caller:
    """Return the caller, a tenant or a super-admin. Raises Fault 401 for any other."""
    return await _authenticate_once(request, authenticate_tenant_or_admin)


async def _authenticate_once(request: Request, authenticate: Callable[[Request, Context], Awaitable[Caller]]) -> Caller:
    """Return the caller, unless the route has done so: one with a body authenticates before it reads the body."""
    if not hasattr(request.state, "caller"):
        request.state.caller = await authenticate(request, get_context(request))
    caller: Caller = request.state.caller
    return caller


AppContext = Annotated[Context, Depends(provide_context)]
Tenant = Annotated[Caller, Depends(find_tenant)]
Spender = Annotated[Caller, Depends(find_spender)]
Reader = Annotated[Caller, Depends(find_reader)]
NamedOrganisation = Annotated[str | None, Depends(find_named_organisation)]
