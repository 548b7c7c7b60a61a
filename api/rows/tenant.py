"""What the reading endpoints of a plan share: whose rows the headers say, and how much one answer holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request

from api.auth import COMPANY_HEADER, ORG_HEADER, authenticate_tenant_or_admin, choose_organisation
from api.context import Context
from api.http.body import read_parameters
from api.rows.query_body import parse_organisation

#: Bytes by which a page ends early. A document may have 32 MB and a page 1000 rows; the next page goes on.
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024

TENANT_HEADERS: Final[Mapping[str, tuple[bool, str]]] = {
    ORG_HEADER: (False, "With the internal key: the organisation to act for."),
    COMPANY_HEADER: (False, "With the internal key: the company to act for."),
}


async def read_tenant_parameters(
    request: Request, context: Context, known: Iterable[str]
) -> tuple[str, dict[str, str]]:
    """Return the organisation a caller asks about, and the parameters of the query string, `org_id` among the known.

    Raises Fault: 401 for who is nobody, 422 for parameters that are wrong, 400 or 403 as `choose_organisation` does.
    """
    caller = await authenticate_tenant_or_admin(request, context)
    parameters = read_parameters(request, known)
    return choose_organisation(caller, parse_organisation(parameters.get("org_id"))), parameters
