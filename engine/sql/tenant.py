"""The database roles that the API uses: a tenant's, which row level security restricts, and the engine's."""

from __future__ import annotations

from typing import Final

TENANT_ROLE: Final = "dex_tenant"

#: The role with the rights that API and backfill need for all organisations, for a login that owns no table.
ENGINE_ROLE: Final = "dex_engine"

#: The condition on a row in the policy for TENANT_ROLE.
TENANT_POLICY: Final = "org_id = nullif(current_setting('app.org_id', true), '')::uuid"
