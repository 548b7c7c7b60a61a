"""The statements of `spec_versions`: which version of a spec is the present one (migration 027)."""

from __future__ import annotations

#: The digest of the present version; no row before the first one is registered.
SELECT_PRESENT_SQL = "select digest from spec_versions where spec = %(spec)s order by number desc limit 1"

IS_KNOWN_SQL = "select exists (select from spec_versions where spec = %(spec)s and digest = %(digest)s)"

#: Make a version the present one, unless it is. Numbers are given one at a time under the lock of the table.
LOCK_VERSIONS_SQL = "lock table spec_versions in share row exclusive mode"
REGISTER_SQL = """
insert into spec_versions as known (spec, digest, number, operations)
select %(spec)s, %(digest)s, coalesce(max(number), 0) + 1, %(operations)s::text[]
from spec_versions where spec = %(spec)s
having coalesce((array_agg(digest order by number desc))[1], '') <> %(digest)s
on conflict (spec, digest) do update set
    number = excluded.number, operations = excluded.operations, registered_at = now()
"""
