"""What the reading endpoints of a plan share: whose rows the headers say, and how much one answer holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.auth import COMPANY_HEADER, ORG_HEADER

#: Bytes by which a page ends early. A document may have 32 MB and a page 1000 rows; the next page goes on.
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024

TENANT_HEADERS: Final[Mapping[str, tuple[bool, str]]] = {
    ORG_HEADER: (False, "With the internal key: the organisation to act for."),
    COMPANY_HEADER: (False, "With the internal key: the company to act for."),
}
