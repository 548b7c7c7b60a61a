"""Read the values of metrics from the database: what is pending, refused or ordered, how much and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.store.connection import Connection, fetch_row, fetch_rows
from engine.store.errors import wrap_errors

#: Each query reads only work that is left (a queue, a partial index of refusals or of unfinished orders), no history.
_PENDING: Final = """
select spec, count(*), extract(epoch from now() - min(queued_at)) from pending_results group by spec
"""
_STALE: Final = "select spec, count(*) from stale_rows group by spec"
_REFUSED: Final = """
select ledger.spec, count(*) filter (where ledger.outcome = 'rejected'), sum(ledger.refused_count)
from step_persistence as ledger
join present_versions as present on present.spec = ledger.spec and present.digest = ledger.spec_digest
where ledger.refused_count > 0 or ledger.outcome = 'rejected'
group by ledger.spec
"""
_ORDERS: Final = """
select status, count(*), extract(epoch from now() - min(requested_at)) from research_orders
where status in ('requested', 'open', 'unknown') group by status
"""


#: Runs that wait for a local runner; those of Trigger.dev wait in its own queue.
_RUNS: Final = """
select count(*), coalesce(extract(epoch from now() - min(created_at)), 0) from pipeline_runs
where status = 'queued' and runner = 'local'
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of waiting records of one kind, and for how many seconds the oldest has been waiting."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class MetricValues:
    """The numbers at one moment; a spec or status without records is left out."""

    pending: dict[str, Waiting]  # step results by spec
    stale_rows: dict[str, int]  # by spec
    rejected: dict[str, int]  # step results by spec
    refused: dict[str, int]  # elements by spec
    orders: dict[str, Waiting]  # by status
    queued_runs: Waiting  # for a local runner


async def fetch_metric_values(connection: Connection) -> MetricValues:
    """Return the numbers of the whole database."""
    async with wrap_errors():
        pending = await fetch_rows(connection, _PENDING)
        stale = await fetch_rows(connection, _STALE)
        refused = await fetch_rows(connection, _REFUSED)
        orders = await fetch_rows(connection, _ORDERS)
        runs, seconds_queued = await fetch_row(connection, _RUNS)
    return MetricValues(
        pending={spec: Waiting(count, float(seconds)) for spec, count, seconds in pending},
        stale_rows=dict(stale),
        rejected={spec: count for spec, count, _ in refused},
        refused={spec: int(count) for spec, _, count in refused},
        orders={status: Waiting(count, float(seconds)) for status, count, seconds in orders},
        queued_runs=Waiting(runs, float(seconds_queued)),
    )
