"""Count the step results of a scope, and those of it that are still pending."""

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
    """Return how many step results of the scope each organisation of a shard has."""
    statement = step_results.build_organisation_counts_statement(plan, scope)
    rows = await fetch_rows(connection, statement.text, statement.parameters)
    return {org_id: found for org_id, found in rows if shard.holds(org_id)}


async def count_left(connection: Connection, plan: Plan, scope: Scope, shard: Shard = _WHOLE) -> int:
    """Return how many step results of the scope are pending, whatever else it selects.

    Organisations that have entries in `pending_results` are counted by the ledger: while another process adds the
    history of a new version, that table may have entries of step results that were recorded a moment ago.
    """
    scope = replace(scope, all=False, rejected=False)
    counts = await count_by_organisation(connection, plan, scope, shard)
    if counts and scope.queued:
        counts = await count_by_organisation(connection, plan, replace(scope, org_ids=[*counts], queued=False))
    return sum(counts.values())
