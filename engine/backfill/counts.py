"""Count the step results that a scope (a backfill's selection) covers, and how many of them are pending."""

from __future__ import annotations

from dataclasses import replace

from engine.plan import Plan
from engine.rows.shards import Shard
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection, fetch_rows

_WHOLE = Shard(0, 1)


async def count_by_organisation(
    connection: Connection, plan: Plan, scope: Scope, shard: Shard = _WHOLE
) -> dict[str, int]:
    """Return, for each organisation of a shard, how many step results a scope selects."""
    statement = step_results.build_organisation_counts_statement(plan, scope)
    rows = await fetch_rows(connection, *statement)
    return {org_id: count for org_id, count in rows if shard.holds_organisation(org_id)}


async def count_left(connection: Connection, plan: Plan, scope: Scope, shard: Shard = _WHOLE) -> int:
    """Return how many step results are pending in the organisations and runs that a scope selects.

    Where `pending_results` has entries of an organisation, its step results are counted by the ledger: the table may
    name some that were recorded a moment ago, while another process adds the history of a new version to it.
    """
    scope = replace(scope, all=False, rejected=False)
    counts = await count_by_organisation(connection, plan, scope, shard)
    if counts and scope.queued:
        counts = await count_by_organisation(connection, plan, replace(scope, org_ids=[*counts], queued=False))
    return sum(counts.values())
