"""The role that row level security binds, and the policy every table has."""

from __future__ import annotations

from typing import Final

TENANT_ROLE: Final = "dex_tenant"


#: What a policy of that role asks of a row.
TENANT_POLICY: Final = "org_id = nullif(current_setting('app.org_id', true), '')::uuid"
