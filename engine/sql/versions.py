"""The statements for `spec_versions`: the registered versions of specs, of which the last is the present one."""

from __future__ import annotations

from engine.sql.step_results import FOUND, PENDING

#: The digest of a spec's present version, and whether `pending_results` has its pending step results (migration 028).
#: There is no row before the first version is registered.
SELECT_PRESENT_SQL = "select digest, is_queued from present_versions where spec = %(spec)s"

IS_KNOWN_SQL = "select exists (select from spec_versions where spec = %(spec)s and digest = %(digest)s)"

#: Make a version the present one, unless it is already. The lock keeps two transactions from giving the same number.
LOCK_VERSIONS_SQL = "lock table spec_versions in share row exclusive mode"
REGISTER_SQL = """
insert into spec_versions as known (spec, digest, number, operations)
select %(spec)s, %(digest)s, coalesce(max(number), 0) + 1, %(operations)s::text[]
from spec_versions where spec = %(spec)s
having coalesce((array_agg(digest order by number desc))[1], '') <> %(digest)s
on conflict (spec, digest) do update set
    number = excluded.number, operations = excluded.operations, registered_at = now(), is_queued = false
"""

#: Whether no open transaction writes step results without having seen the present version. Takes a lock until the
#: transaction ends. It does not wait for the lock: later writers would have to wait behind it.
TRY_LOCK_QUEUE_SQL = "select pg_try_advisory_xact_lock(hashtextextended('dex queue step results', 0))"

#: The version is still the present one: otherwise the entries are those of a process that registered another one since.
_IS_PRESENT = "%(digest)s = (select digest from present_versions where spec = %(spec)s)"
#: The statements that add all that is pending of a version to `pending_results`.
QUEUE_HISTORY_SQL = f"""
insert into pending_results (step_result_id, spec, org_id)
select found.id, %(spec)s, found.org_id from step_results as found
where {_IS_PRESENT} and {FOUND} and {PENDING}
on conflict (step_result_id, spec) do nothing
"""
#: A version that was registered meanwhile may claim fewer operations, and may have been queued before this was added.
DELETE_UNCLAIMED_PENDING_SQL = """
delete from pending_results as pending using present_versions as present, step_results as step
where pending.spec = %(spec)s and present.spec = pending.spec and step.id = pending.step_result_id
    and step.operation_id <> all(present.operations)
"""
#: Those that were recorded meanwhile are taken out again, and those that are not found any more: changed, deleted, or
#: of an operation that the spec no longer claims.
DELETE_RECORDED_PENDING_SQL = f"""
delete from pending_results as pending using step_persistence as ledger
where pending.spec = %(spec)s and ledger.spec = pending.spec and ledger.step_result_id = pending.step_result_id
    and ledger.spec_digest = %(digest)s and {_IS_PRESENT}
"""
DELETE_LOST_PENDING_SQL = f"""
delete from pending_results as pending
where pending.spec = %(spec)s and {_IS_PRESENT} and not exists (
    select from step_results as found where found.id = pending.step_result_id and {FOUND}
)
"""
MARK_QUEUED_SQL = f"""
update spec_versions set is_queued = true where spec = %(spec)s and digest = %(digest)s and {_IS_PRESENT}
"""

#: Whether a spec has pending step results or stale rows, given that its pending step results are queued.
HAS_WORK_SQL = """
select exists (select from pending_results where spec = %(spec)s)
    or exists (select from stale_rows where spec = %(spec)s)
"""
