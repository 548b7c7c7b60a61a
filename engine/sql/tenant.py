"""The roles that the API works as: that of a tenant, which row level security restricts, and that of the engine."""

from __future__ import annotations

from typing import Final

TENANT_ROLE: Final = "dex_tenant"

#: What the API and the backfill do for all organisations, for a login that owns no table.
ENGINE_ROLE: Final = "dex_engine"

#: The condition that the policy of TENANT_ROLE puts on a row.
TENANT_POLICY: Final = "org_id = nullif(current_setting('app.org_id', true), '')::uuid"
