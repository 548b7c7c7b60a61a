"""The command `dex verify`, which compares the tables with the step results.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows.shards import Shard
from engine.values.column_types import shorten_json
from scripts import terminal
from scripts.commands.options import AsJson, Command, ShardOption, complete_spec, read_optional_uuid
from scripts.database_url import open_database, require_organisation

if TYPE_CHECKING:
    from engine.verify.report import Verification

_WIDTH = 500  # the most characters of a key on a line


def verify_specs(
    spec: Annotated[
        str | None,
        typer.Argument(help="The name of a spec. Default: all specs.", autocompletion=complete_spec, metavar="[SPEC]"),
    ] = None,
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    shard: ShardOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rewrite the rows that do not match, then verify again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the rows with what their step results give.

    Everything is read in one snapshot, so concurrent writes do not matter. Exit status 1 if a row is missing, orphaned
    (no step result gives it) or different.
    """
    here = find_project()
    plans = load_plans(here)
    chosen = [find_plan(plans, spec)] if spec else list(plans)
    org_id = read_optional_uuid(org, "--org")
    if org_id and shard:
        raise typer.BadParameter("--org and --shard exclude each other")
    verifications = []
    with open_database(here) as dsn:
        require_organisation(dsn, org_id)
        for plan in chosen:
            verifications.append(_verify_spec(dsn, plan, org_id, shard, repair))
            if verifications[-1] and not as_json:
                _print_verification(verifications[-1])
    if as_json:
        terminal.print_json([verification.as_dict() for verification in verifications if verification])
    raise typer.Exit(0 if all(verification and verification.holds for verification in verifications) else 1)


def _verify_spec(dsn: str, plan: Plan, org_id: str | None, shard: str | None, repair: bool) -> Verification | None:
    """Verify one spec; if its table does not fit, print the error and return None, so that other specs are verified."""
    on_stop = "what was repaired stays" if repair else "nothing was changed"
    from engine.store.errors import StoreRefused
    from engine.verify.repair import repair_spec
    from engine.verify.run import verify_spec
    from engine.verify.shards import verify_shard

    try:
        with terminal.show_reading(plan.name, f"{on_stop}, the same command starts from the beginning") as progress:
            if shard:
                return asyncio.run(verify_shard(dsn, plan, Shard.parse(shard), repair=repair, progress=progress))
            verify = repair_spec if repair else verify_spec
            return asyncio.run(verify(dsn, plan, [org_id] if org_id else [], progress=progress))
    except StoreRefused as error:
        terminal.print_error(error)
        return None


def _print_verification(verification: Verification) -> None:
    parts = " + ".join(f"{count} {kind}" for kind, count in verification.counts.items() if count)
    differing = f"; {parts}" if parts else ""
    terminal.print_line(f"{verification.spec}: {verification.rows} rows, {verification.matching} matching{differing}")
    for sample in verification.samples:
        columns = f": {', '.join(sample.columns)}" if sample.columns else ""
        row = f" (row {sample.id})" if sample.id else ""
        terminal.print_line(f"  {sample.kind} {shorten_json(dict(sample.key), _WIDTH)}{row}{columns}")


COMMANDS = (
    Command(
        "verify",
        verify_specs,
        (
            "dex verify",
            "dex verify icp_job_titles --json",
            "dex verify icp_job_titles --repair",
            "dex verify --shard 0/4",
        ),
    ),
)
