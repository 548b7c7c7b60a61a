"""Read the accounts from the database: for each spec and organisation, the number of step results per outcome.

An account closes when found = written + unchanged + superseded + filtered + rejected + pending, and, for the elements
of the recorded step results, when elements = rows + duplicates + refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from engine.backfill.versions import is_queued
from engine.plan import Plan
from engine.rows.accounts import ELEMENT_COUNTS, Account, report_outcomes
from engine.sql import coverage
from engine.store.connection import Connection, fetch_rows
from engine.store.errors import wrap_errors


async def fetch_coverage(
    connection: Connection, plans: Sequence[Plan], org_ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the account of each spec and organisation that has found step results, as JSON objects.

    Without `org_ids` those of all organisations. An account has `found`, the count of each outcome, `pending`, the
    counts of elements, and `stale_rows`. `found` is the sum of recorded and queued step results; the pending ones of a
    spec that does not queue them are counted in the step results instead.
    """
    if not plans or org_ids == []:
        return []
    accounts = await _fetch_accounts(connection, plans, org_ids)
    return [
        _report_account(org, account) for (spec, org), account in sorted(accounts.items(), key=lambda item: item[0])
    ]


async def fetch_account(connection: Connection, plan: Plan) -> Account:
    """Return the account of a spec over all organisations, with its reasons."""
    result = Account(plan.name)
    for account in (await _fetch_accounts(connection, [plan], None)).values():
        result.found += account.found
        result.outcomes += account.outcomes
        result.elements += account.elements
        result.stale_rows += account.stale_rows
    result.reasons = await fetch_reason_counts(connection, plan)
    return result


async def fetch_reason_counts(
    connection: Connection, plan: Plan, org_ids: Sequence[str] | None = None
) -> Counter[tuple[str, str | None]]:
    """Return how often each reason, by code and field, is recorded in the ledger of a spec.

    Without `org_ids` those of all organisations.
    """
    async with wrap_errors():
        rows = await fetch_rows(connection, *coverage.build_reason_counts_statement(plan, org_ids))
    return Counter({(code, name): count for code, name, count in rows})


async def _fetch_accounts(
    connection: Connection, plans: Sequence[Plan], org_ids: Sequence[str] | None
) -> dict[tuple[str, str], Account]:
    """Return the account of each spec and organisation that has found step results."""
    async with wrap_errors(), connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        if org_ids is None:
            await connection.execute(coverage.SET_INDEX_SCANS_SQL)
        queued = [plan for plan in plans if await is_queued(connection, plan)]
        unqueued = [plan for plan in plans if plan not in queued]
        outcome_rows = await fetch_rows(connection, *coverage.build_outcome_counts_statement(plans, org_ids))
        pending_rows = await fetch_rows(connection, *coverage.build_pending_counts_statement(queued, org_ids))
        found_rows: list[tuple[Any, ...]] = []
        if unqueued:
            found_rows = await fetch_rows(connection, *coverage.build_found_counts_statement(unqueued, org_ids))
        stale_rows = await fetch_rows(connection, *coverage.build_stale_counts_statement(plans, org_ids))
    accounts = _group_by_account(outcome_rows)
    found = _sum_found(unqueued, found_rows)
    names = {plan.name for plan in queued}
    found.update({key: account.recorded for key, account in accounts.items() if key[0] in names})
    found.update({(spec, str(org)): count for spec, org, count in pending_rows})
    stale = {(spec, org): count for spec, org, count in stale_rows}
    for spec, org in found.keys() | accounts.keys() | stale.keys():
        account = accounts[spec, org]
        account.found, account.stale_rows = found[spec, org], stale.get((spec, org), 0)
    return accounts


def _sum_found(plans: Sequence[Plan], rows: Iterable[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    """Add up found counts by (spec, organisation), from counts by (operation, organisation).

    A step result counts for every spec of its operation.
    """
    specs: defaultdict[str, list[str]] = defaultdict(list)
    for plan in plans:
        for operation in plan.operations:
            specs[operation].append(plan.name)
    found: Counter[tuple[str, str]] = Counter()
    for operation, org, count in rows:
        for spec in specs[operation]:
            found[spec, str(org)] += count
    return found


class _Accounts(dict[tuple[str, str], Account]):
    """Step results per outcome (an Account) by (spec, organisation); a missing Account is created on access."""

    def __missing__(self, key: tuple[str, str]) -> Account:
        account = self[key] = Account(key[0])
        return account


def _group_by_account(rows: Iterable[tuple[Any, ...]]) -> _Accounts:
    """Add up the ledger's counts of outcomes and elements to one account per (spec, organisation)."""
    accounts = _Accounts()
    for spec, org, outcome, count, *sums in rows:
        account = accounts[spec, str(org)]
        account.outcomes[outcome] += count
        account.elements.update(dict(zip(ELEMENT_COUNTS, map(int, sums), strict=True)))
    return accounts


def _report_account(org: str, account: Account) -> dict[str, Any]:
    return {
        "spec": account.spec,
        "org_id": org,
        "found": account.found,
        **report_outcomes(account.outcomes),
        "pending": account.pending,
        **{name: account.elements[name] for name in ELEMENT_COUNTS},
        "stale_rows": account.stale_rows,
    }


async def list_results_by_outcome(
    connection: Connection, plan: Plan, outcome: str, org_id: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the newest step results of a plan that have `outcome`, with the ledger's reasons.

    `outcome` may also be `pending`, or `refused` for those with refused elements.
    """
    async with wrap_errors():
        queued = await is_queued(connection, plan)
        statement = coverage.build_results_by_outcome_statement(plan, outcome, org_id, limit, queued=queued)
        rows = await fetch_rows(connection, *statement)
    names = ("step_result_id", "org_id", "pipeline_run_id", "recorded_at", "outcome", "reasons")
    return [
        dict(zip(names, (str(step), str(org), str(run), at.isoformat(), row_outcome, reasons), strict=True))
        for step, org, run, at, row_outcome, reasons in rows
    ]
