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
    number = excluded.number, operations = excluded.operations, registered_at = now(), is_queued = false
"""

#: Whether the present version is that of `digest`, and what is pending of it is in `pending_results` (migration 028).
IS_QUEUED_SQL = """
select exists (select from present_versions where spec = %(spec)s and digest = %(digest)s and is_queued)
"""

#: Whether nobody writes step results who may not have seen the present version yet. Held until the transaction ends; it
#: is tried and not waited for, since those who come later would wait behind it.
TRY_LOCK_QUEUE_SQL = "select pg_try_advisory_xact_lock(hashtextextended('dex queue step results', 0))"

#: Add what is pending of a version to `pending_results`. What is there of another operation is no longer the spec's.
DELETE_FOREIGN_PENDING_SQL = """
delete from pending_results as pending using step_results as step
where pending.spec = %(spec)s and step.id = pending.step_result_id
    and step.operation_id <> all(%(operations)s::text[])
"""
#: Each entry of the ledger is looked up by its key: right after a load, while the statistics say that the ledger is
#: empty, the planner would choose an anti join that compares all pairs.
QUEUE_HISTORY_SQL = """
insert into pending_results (step_result_id, spec, org_id)
select found.id, %(spec)s, found.org_id from step_results as found
where found.status = 'succeeded' and found.result_status = 'found' and found.operation_id = any(%(operations)s::text[])
    and (
        select ledger.spec_digest from step_persistence as ledger
        where ledger.step_result_id = found.id and ledger.spec = %(spec)s
    ) is distinct from %(digest)s
on conflict (step_result_id, spec) do nothing
"""
DELETE_RECORDED_PENDING_SQL = """
delete from pending_results as pending using step_persistence as ledger
where pending.spec = %(spec)s and ledger.spec = pending.spec and ledger.step_result_id = pending.step_result_id
    and ledger.spec_digest = %(digest)s
"""
MARK_QUEUED_SQL = """
update spec_versions set is_queued = true where spec = %(spec)s and digest = %(digest)s
    and digest = (select digest from present_versions where spec = %(spec)s)
"""

#: Whether something of a spec waits to be folded, where its history is queued.
HAS_WORK_SQL = """
select exists (select from pending_results where spec = %(spec)s)
    or exists (select from stale_rows where spec = %(spec)s)
"""
