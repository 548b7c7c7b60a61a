"""The role that row level security restricts to one organisation, and the policy every table has for it."""

from __future__ import annotations

from typing import Final

TENANT_ROLE: Final = "dex_tenant"

#: The condition that the policy of TENANT_ROLE puts on a row.
TENANT_POLICY: Final = "org_id = nullif(current_setting('app.org_id', true), '')::uuid"
