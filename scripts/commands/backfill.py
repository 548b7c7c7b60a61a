"""The commands that write the rows of step results and count the outcomes: backfill, reconcile, coverage.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows import render
from engine.rows.accounts import ELEMENT_COUNTS, Account
from engine.rows.outcomes import Outcome
from engine.rows.shards import Shard
from engine.rows.steps import BATCH_SIZE
from engine.sql.step_results import Scope
from scripts import terminal
from scripts.commands.options import (
    AsJson,
    Command,
    OptionalSpecName,
    ShardOption,
    SpecName,
    read_optional_uuid,
    read_uuid,
)
from scripts.commands.orders import collect_open_orders
from scripts.database_url import open_database, require_organisation, run_in_database

if TYPE_CHECKING:
    from engine.backfill.run import BackfillResult
    from engine.store.connection import Connection

_NUMBERS = ("found", *Outcome, "pending")
_EXPLAINED = (*_NUMBERS, "refused")
#: How many more objects are created than freed between two searches for garbage cycles.
_GARBAGE_THRESHOLD = 20_000


def backfill_spec(
    spec: SpecName,
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    submission: Annotated[list[str] | None, typer.Option(help="Only this submission; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after this time; UTC without an offset.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before this time; UTC without an offset.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have an outcome already.")] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Also rejected ones, and those with a refused element.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show a sample; write nothing.")] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Show which cells all step results would change; write nothing."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many step results.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Step results per transaction.")] = BATCH_SIZE,
    shard: ShardOption = None,
    targets: Annotated[bool, typer.Option("--targets", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Write the rows of a spec's pending step results.

    It begins with the oldest. An interrupted backfill resumes where it stopped. Exit status 1 if something was rejected
    or refused, or is still pending; with --limit, what exceeds the limit does not count.
    """
    here = find_project()
    plan = find_plan(load_plans(here), spec)
    orgs, submissions = _choose_targets(plan, org, submission or [], targets)
    scope = Scope(
        org_ids=orgs,
        submissions=submissions,
        since=_parse_time(since, "--since"),
        until=_parse_time(until, "--until"),
        all=everything or preview,
        rejected=rejected,
        limit=limit,
    )
    if shard and (org or limit or preview or targets):
        raise typer.BadParameter("--shard goes with neither --org, --limit, --preview nor the targets of a script")
    part = Shard.parse(shard) if shard else None
    with open_database(here) as dsn:
        require_organisation(dsn, orgs[0] if org is not None else None)
        report = backfill_with_progress(
            dsn, plan, scope, batch_size=batch_size, dry_run=dry_run, preview=preview, shard=part
        )
    _print_backfill(report, dry_run or preview, as_json, limit)
    raise typer.Exit(1 if has_trouble(report, limit) and not (dry_run or preview) else 0)


def has_trouble(report: dict[str, Any], limit: int | None = None) -> bool:
    """Return whether an account counts anything rejected, refused, pending or stale, or has an error.

    With `limit`, only that many step results were to be processed; others that are still pending do not count.
    """
    has_pending = report["pending"] > _count_beyond(report, limit)
    return bool(report["rejected"] or report["refused"] or has_pending or report["stale_rows"] or "error" in report)


def _count_beyond(report: Mapping[str, Any], limit: int | None) -> int:
    """Return how many of the step results in a report `limit` leaves out."""
    return 0 if limit is None else max(report["found"] - limit, 0)


def _choose_targets(plan: Plan, org: str | None, submissions: list[str], targets: bool) -> tuple[list[str], list[str]]:
    """Return the organisations and submissions to backfill: the given ones; with `--targets`, those in the spec."""
    if targets and org is None and not submissions:
        if not plan.targets:
            raise typer.BadParameter(f"the spec `{plan.name}` has no `backfill` targets; name --org or --submission")
        for target in plan.targets:
            terminal.print_note(
                f"{plan.name}: organisation {target.org_id}, submissions {', '.join(target.submissions)}"
            )
        return [target.org_id for target in plan.targets], [
            submission for target in plan.targets for submission in target.submissions
        ]
    return [read_uuid(org, "--org")] if org is not None else [], [
        read_uuid(submission, "--submission") for submission in submissions
    ]


def backfill_with_progress(
    dsn: str,
    plan: Plan,
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    preview: bool = False,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Backfill `plan` with progress on standard error; return the report that `--json` prints."""
    from engine.backfill.preview import Preview

    started = time.monotonic()
    _relax_garbage_collection()
    changes = Preview(plan) if preview else None
    options: dict[str, Any] = {"batch_size": batch_size, "dry_run": dry_run or preview}
    options |= {"preview": changes} if changes else {}
    with terminal.show_progress() as progress:
        result = asyncio.run(_run_backfill(dsn, plan, scope, shard, progress=progress, **options))
    report = {**result.account.as_dict(), "seconds": round(time.monotonic() - started, 3)}
    if dry_run:
        report |= {"dry_run": True, "sample": result.sample}
    if changes:
        report |= {"preview": changes.as_dict()}
    return report


def _run_backfill(
    dsn: str, plan: Plan, scope: Scope, shard: Shard | None, **options: Any
) -> Coroutine[Any, Any, BackfillResult]:
    """Return the coroutine that backfills a shard, or all organisations; its notes go to standard error."""
    from engine.backfill.run import run_backfill
    from engine.backfill.shards import run_shard

    if shard:
        return run_shard(dsn, plan, scope, shard, note_large=_build_large_note(plan), **options)
    return run_backfill(dsn, plan, scope, waiting=_build_waiting_note(plan), **options)


def _relax_garbage_collection() -> None:
    """Make Python search for garbage cycles rarely, and never among imported objects: a backfill creates hardly any.

    Searching takes a tenth of the process's time.
    """
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def _print_backfill(report: dict[str, Any], writes_nothing: bool, as_json: bool, limit: int | None) -> None:
    if as_json:
        terminal.print_json(report)
        return
    terminal.print_account(report, is_trial=writes_nothing)
    for row in report.get("sample", ()):
        terminal.print_line(f"  {render.dump_json(row).decode()}")
    if "preview" in report:
        _print_preview(report["preview"])
    terminal.print_note(f"{report['seconds']} s{'; nothing was written' if writes_nothing else ''}")
    if beyond := _count_beyond(report, limit):
        terminal.print_note(f"{beyond} step result(s) beyond `--limit` were not looked at; above they count as pending")
    if not writes_nothing:
        print_next_command(report)


def print_next_command(report: Mapping[str, Any]) -> None:
    """Print the command that lists what an account counts as rejected or refused."""
    if report["rejected"] or report["refused"]:
        command = f"dex coverage --spec {report['spec']} --explain rejected"
        terminal.print_note(f"next: `{command}` lists what was rejected, with the reasons")


def _print_preview(changes: dict[str, Any]) -> None:
    terminal.print_line(
        f"would add {changes['new_rows']} row(s), change {changes['changed_rows']} and remove {changes['removed_rows']}"
    )
    for cell in changes["cells"]:
        terminal.print_line(f"  {cell['column']}: {cell['count']} cell(s)")
    for added in changes["added"]:
        cells = ", ".join(f"{name} {value}" for name, value in added["cells"].items())
        terminal.print_line(f"    {_format_key(added)}: would be added{f': {cells}' if cells else ''}")
    for sample in changes["samples"]:
        before, after = ("nothing" if cell is None else cell for cell in (sample["from"], sample["to"]))
        terminal.print_line(f"    {_format_key(sample)}: {sample['column']}: {before} -> {after}")
    for removed in changes["removed"]:
        terminal.print_line(f"    {_format_key(removed)}: would be removed")
    terminal.print_line("rows that have a value, of all that the step results give")
    terminal.print_fill_rates(changes["columns"])


def _format_key(sample: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sample["key"].items())


def reconcile_specs(shard: ShardOption = None, as_json: AsJson = False) -> None:
    """Write the rows of the pending step results of every spec.

    If PARALLEL_API_KEY is set, it first collects the answers of open orders. Exit status 1 if something was rejected or
    refused, or is still pending.
    """
    here = find_project()
    plans = load_plans(here)
    part = Shard.parse(shard) if shard else None
    with open_database(here) as dsn, terminal.show_progress() as progress:
        collect_open_orders(here, dsn)
        _relax_garbage_collection()
        reports = asyncio.run(_reconcile_plans(dsn, plans, part, progress))
    if as_json:
        terminal.print_json(reports)
    else:
        for report in reports:
            terminal.print_account(report)
            print_next_command(report)
    raise typer.Exit(1 if any(map(has_trouble, reports)) else 0)


async def _reconcile_plans(
    dsn: str, plans: Sequence[Plan], shard: Shard | None, progress: Callable[[Account], None]
) -> list[dict[str, Any]]:
    """Backfill every spec, a few concurrently; return a report per spec."""
    from engine.backfill.sweep import map_specs

    return await map_specs(lambda plan: _reconcile_plan(dsn, plan, shard, progress), plans)


async def _reconcile_plan(
    dsn: str, plan: Plan, shard: Shard | None, progress: Callable[[Account], None]
) -> dict[str, Any]:
    """Backfill one spec and return its report.

    If its table does not fit or the spec is outdated, print the error and return a report of what is pending.
    """
    from engine.backfill.run import build_pending_account
    from engine.backfill.versions import SpecOutdated
    from engine.store.connection import connect
    from engine.store.errors import StoreRefused

    started = time.monotonic()
    try:
        account = (await _run_backfill(dsn, plan, Scope(), shard, progress=progress)).account
    except (StoreRefused, SpecOutdated) as error:
        terminal.print_error(error)
        async with await connect(dsn) as connection:
            account = await build_pending_account(connection, plan, error, Scope())
    return {**account.as_dict(), "seconds": round(time.monotonic() - started, 3)}


def _build_large_note(plan: Plan) -> Callable[[str, int, int], None]:
    return lambda org_id, found, total: terminal.print_note(
        f"{plan.name}: organisation {org_id} has {found} of {total} step results, more than the share of a shard;"
        " it is not divided"
    )


def _build_waiting_note(plan: Plan) -> Callable[[], None]:
    return lambda: terminal.print_note(f"{plan.name}: another backfill of this spec is at work; waiting for it")


def show_coverage(
    spec: OptionalSpecName = None,
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    explain: Annotated[
        str | None, typer.Option(help=f"List the step results of one count: {', '.join(_EXPLAINED)}.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="With --explain: the most step results per spec.")] = 100,
    by_column: Annotated[
        bool, typer.Option("--columns", help="Show how many rows have a value in each column; reads all step results.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 when anything is rejected, refused or pending.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count the step results of each spec by outcome.

    For each spec and organisation: found = written + unchanged + superseded + filtered + rejected + pending, and
    elements = rows + duplicates + refused.
    """
    from engine.backfill.coverage import fetch_coverage, fetch_reason_counts, list_results_by_outcome
    from engine.backfill.fill_rates import fetch_fill_rates

    if explain is not None and explain not in _EXPLAINED:
        raise typer.BadParameter(f"`{explain}` is none of {', '.join(_EXPLAINED)}")
    plans = load_plans(find_project())
    chosen = [find_plan(plans, spec)] if spec else list(plans)
    if by_column and (explain is not None or strict):
        raise typer.BadParameter("--columns goes with neither --explain nor --strict")
    org_id = read_optional_uuid(org, "--org")
    if by_column:
        rates = run_in_database(lambda connection: fetch_fill_rates(connection, chosen, org_id), org_id)
        _print_fill_rates(rates, as_json)
        return

    orgs = [org_id] if org_id else None
    results: list[dict[str, Any]] = []
    reasons: dict[str, Mapping[tuple[str, str | None], int]] = {}

    async def read_accounts(connection: Connection) -> list[dict[str, Any]]:
        for plan in chosen if explain is not None else ():
            found = await list_results_by_outcome(connection, plan, str(explain), org_id, limit)
            terminal.print_cut(len(found), limit, f"step results of `{plan.name}`")
            results.extend({"spec": plan.name, **row} for row in found)
        accounts = await fetch_coverage(connection, chosen, orgs) if explain is None or strict else []
        refused = {account["spec"] for account in accounts if account["rejected"] or account["refused"]}
        for plan in chosen if not as_json else ():
            if plan.name in refused:
                reasons[plan.name] = dict((await fetch_reason_counts(connection, plan, orgs)).most_common())
        return accounts

    accounts = run_in_database(read_accounts, org_id)
    if as_json:
        terminal.print_json(accounts if explain is None else results)
    elif explain is None:
        terminal.print_rows(("spec", "org_id", *_NUMBERS, *ELEMENT_COUNTS, "stale_rows"), accounts)
        for name, counts in reasons.items():
            terminal.print_line(f"{name}: reasons on record")
            terminal.print_reason_counts(counts)
    else:
        _print_explained(results)
    if strict:
        raise typer.Exit(1 if any(map(has_trouble, accounts)) else 0)


def _print_fill_rates(reports: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        terminal.print_json(reports)
        return
    for report in reports:
        refused = f", {report['refused']} element(s) refused" if report["refused"] else ""
        terminal.print_line(
            f"{report['spec']}  {report['org_id']}  {report['step_results']} step result(s), {report['rows']} row(s)"
            f"{refused}"
        )
        terminal.print_fill_rates(report["columns"])


def _print_explained(results: list[dict[str, Any]]) -> None:
    for result in results:
        terminal.print_line(
            f"{result['spec']}  {result['step_result_id']}  {result['recorded_at']}  {result['outcome']}"
        )
        terminal.print_reasons(result["reasons"], result["spec"])
    terminal.print_note(f"{len(results)} step result(s)")


def _parse_time(text: str | None, option: str) -> datetime | None:
    """Parse an ISO 8601 time; without an offset it is UTC. Raises BadParameter that names the option."""
    try:
        value = None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: `{text}` is no time such as 2026-11-22 or 2026-11-22T18:00:00Z") from error
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


COMMANDS = (
    Command(
        "backfill",
        backfill_spec,
        (
            "dex backfill icp_job_titles",
            "dex backfill icp_job_titles --since 2026-11-01 --dry-run",
            "dex backfill company_intel_briefings --preview",
            "dex backfill icp_job_titles --shard 0/4",
        ),
    ),
    Command("reconcile", reconcile_specs, ("dex reconcile", "dex reconcile --json")),
    Command(
        "coverage",
        show_coverage,
        (
            "dex coverage",
            "dex coverage --spec icp_job_titles --explain rejected",
            "dex coverage --spec icp_job_titles --columns",
        ),
    ),
)
