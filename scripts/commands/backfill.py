"""Commands that keep the accounts: backfill, reconcile, coverage.

What needs the database is imported where it is used, so that the other commands start without it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from engine import plans as load
from engine import project
from engine.plan import Plan
from engine.rows import render
from engine.rows.accounts import OUTCOMES
from engine.rows.grouping import BATCH_SIZE
from engine.sql.step_results import Scope
from scripts import console
from scripts.commands.spec import AsJson, Spec
from scripts.database_url import database

_NUMBERS = ("found", *OUTCOMES, "pending")


def backfill(
    spec: Spec,
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    submission: Annotated[list[str] | None, typer.Option(help="Only this submission; repeatable.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after; UTC where no offset is given.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before; UTC where no offset is given.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what the ledger knows already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show a sample; write nothing.")] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Which cells a changed spec would change, over all history; write nothing."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many step results.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Step results per transaction.")] = BATCH_SIZE,
    targets: Annotated[bool, typer.Option("--targets", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Turn found step results into rows: the pending ones, oldest first. Interrupted, it resumes."""
    here = project.find()
    plan = load.pick(load.load(here), spec)
    orgs, submissions = _where(plan, org, submission or [], targets)
    scope = Scope(
        org_ids=orgs,
        submissions=submissions,
        since=_time(since, "--since"),
        until=_time(until, "--until"),
        all=everything or preview,
        limit=limit,
    )
    with database(here) as dsn:
        words = run_backfill(dsn, plan, scope, batch_size=batch_size, dry_run=dry_run, preview=preview)
    _say_backfill(words, dry_run or preview, as_json)


def _where(plan: Plan, org: str | None, submissions: list[str], targets: bool) -> tuple[list[str], list[str]]:
    """The organisations and submissions that are meant: those named, else (in a backfill script) the spec's own."""
    if targets and org is None and not submissions:
        if not plan.targets:
            raise typer.BadParameter(f"the spec `{plan.name}` has no `backfill` targets; name --org or --submission")
        for target in plan.targets:
            console.note(f"{plan.name}: organisation {target.org_id}, submissions {', '.join(target.submissions)}")
        return [item.org_id for item in plan.targets], [name for item in plan.targets for name in item.submissions]
    named = [as_uuid(item, "--submission") or "" for item in submissions]
    return [as_uuid(org, "--org") or ""] if org is not None else [], named


def run_backfill(
    dsn: str,
    plan: Plan,
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    preview: bool = False,
) -> dict[str, Any]:
    """Backfill with progress on standard error; return what `--json` prints."""
    from engine.backfill import run as store
    from engine.backfill.preview import Preview

    started = time.monotonic()
    changes = Preview(plan) if preview else None

    def waiting() -> None:
        console.note(f"{plan.name}: another backfill of this spec is at work; waiting for it")

    with console.progress(plan.name) as progress:
        result = asyncio.run(
            store.run(
                dsn,
                plan,
                scope,
                batch_size=batch_size,
                dry_run=dry_run or preview,
                preview=changes,
                progress=progress,
                waiting=waiting,
            )
        )
    words = {**result.account.as_dict(), "seconds": round(time.monotonic() - started, 3)}
    if dry_run:
        words |= {"dry_run": True, "sample": result.sample}
    if changes:
        words |= {"preview": changes.as_dict()}
    return words


def _say_backfill(words: dict[str, Any], writes_nothing: bool, as_json: bool) -> None:
    if as_json:
        console.emit(words)
        return
    console.account(words)
    for row in words.get("sample", ()):
        console.say(f"  {render.dumps(row).decode()}")
    if "preview" in words:
        _say_preview(words["preview"])
    console.note(f"{words['seconds']} s{'; nothing was written' if writes_nothing else ''}")


def _say_preview(changes: dict[str, Any]) -> None:
    console.say(f"would add {changes['new_rows']} row(s) and change {changes['changed_rows']}")
    for cell in changes["cells"]:
        console.say(f"  {cell['column']}: {cell['count']} cell(s)")
    for sample in changes["samples"]:
        key = ", ".join(f"{name} {value}" for name, value in sample["key"].items())
        before, after = ("nothing" if cell is None else cell for cell in (sample["from"], sample["to"]))
        console.say(f"    {key}: {sample['column']}: {before} -> {after}")


def reconcile(as_json: AsJson = False) -> None:
    """Write whatever is still pending, for every spec. Exit 1 when something stays pending."""
    here = project.find()
    plans = load.load(here)
    with database(here) as dsn:
        words = [_reconcile_one(dsn, plan) for plan in plans]
    if as_json:
        console.emit(words)
    else:
        for word in words:
            console.account(word)
    raise typer.Exit(1 if any(word["pending"] or "error" in word for word in words) else 0)


def _reconcile_one(dsn: str, plan: Plan) -> dict[str, Any]:
    """Backfill one spec; one whose table does not fit is told, and keeps nothing from the others."""
    from engine.backfill import run as store
    from engine.store.connection import connect
    from engine.store.errors import StoreRefused

    async def left(error: StoreRefused) -> dict[str, Any]:
        async with await connect(dsn) as connection:
            return (await store.pending(connection, plan, error, Scope())).as_dict()

    try:
        return run_backfill(dsn, plan, Scope())
    except StoreRefused as error:
        console.complain(error)
        return {**asyncio.run(left(error)), "seconds": 0.0}


def coverage(
    spec: Annotated[str | None, typer.Option(help="Only this spec.")] = None,
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    explain: Annotated[
        str | None, typer.Option(help=f"Name the step results behind a number: {', '.join(_NUMBERS)}.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many step results of --explain, per spec.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the accounts: found = written + unchanged + superseded + filtered + rejected + pending."""
    if explain is not None and explain not in _NUMBERS:
        raise typer.BadParameter(f"`{explain}` is none of {', '.join(_NUMBERS)}")
    here = project.find()
    plans = load.load(here)
    chosen = [load.pick(plans, spec)] if spec else list(plans)
    with database(here) as dsn:
        words = asyncio.run(_coverage(dsn, chosen, as_uuid(org, "--org"), explain, limit))
    if as_json:
        console.emit(words)
    elif explain is None:
        console.table(
            ("spec", "org_id", *_NUMBERS), [[word[name] for name in ("spec", "org_id", *_NUMBERS)] for word in words]
        )
    else:
        _say_explained(words)


async def _coverage(
    dsn: str, plans: list[Plan], org: str | None, outcome: str | None, limit: int
) -> list[dict[str, Any]]:
    from engine.backfill import coverage as coverages
    from engine.store.connection import connect

    async with await connect(dsn) as connection:
        if outcome is None:
            return await coverages.fetch(connection, plans, org)
        found = [(plan, await coverages.explain(connection, plan, outcome, org, limit)) for plan in plans]
        return [{"spec": plan.name, **row} for plan, rows in found for row in rows]


def _say_explained(words: list[dict[str, Any]]) -> None:
    for word in words:
        console.say(f"{word['spec']}  {word['step_result_id']}  {word['recorded_at']}  {word['outcome']}")
        for reason in word["reasons"]:
            element = f"element {reason['element']}: " if reason.get("element") is not None else ""
            value = f", found {reason['value']}" if reason.get("value") is not None else ""
            console.say(
                f"    {element}{reason['field'] or word['spec']}: {reason['message']}{value} ({reason['code']})"
            )
    console.note(f"{len(words)} step result(s)")


def as_uuid(text: str | None, option: str) -> str | None:
    """Return a UUID as Postgres spells it. Raises BadParameter naming the option."""
    from uuid import UUID

    try:
        return None if text is None else str(UUID(text))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: `{text}` is not a UUID") from error


def _time(text: str | None, option: str) -> datetime | None:
    try:
        value = None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: `{text}` is no time such as 2026-11-22 or 2026-11-22T18:00:00Z") from error
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


COMMANDS = (backfill, reconcile, coverage)
