"""What the endpoints that read rows share: headers, the organisation of a request, and the size of a response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request

from api.auth import COMPANY_HEADER, ORG_HEADER, authenticate_tenant_or_admin, choose_organisation
from api.context import Context
from api.http.body import read_parameters
from api.rows.query_body import parse_organisation

#: A page ends early when its rows exceed this many bytes, and the next page continues after them: a document may have
#: 32 MB, and a page 1000 rows.
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024

TENANT_HEADERS: Final[Mapping[str, tuple[bool, str]]] = {
    ORG_HEADER: (False, "With the internal key: the organisation to act for."),
    COMPANY_HEADER: (False, "With the internal key: the company to act for."),
}


async def read_tenant_parameters(
    request: Request, context: Context, known: Iterable[str]
) -> tuple[str, dict[str, str]]:
    """Authenticate the caller; return the organisation of the request and its query parameters.

    `known` are the names of the parameters, `org_id` included. Raises Fault 401 without valid credentials, 422 for
    invalid parameters, 400 or 403 as `choose_organisation` does.
    """
    caller = await authenticate_tenant_or_admin(request, context)
    parameters = read_parameters(request, known)
    return choose_organisation(caller, parse_organisation(parameters.get("org_id"))), parameters
