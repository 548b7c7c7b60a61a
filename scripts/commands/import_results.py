"""The command `dex import`, which stores research done elsewhere and turns it into rows.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import EngineError
from engine.plan import Plan
from engine.plans import find_plan, load_plans
from engine.project import find_project
from engine.rows import document
from engine.sql.step_results import Scope
from engine.values import exact_json
from scripts import terminal
from scripts.commands.backfill import backfill_with_progress, has_trouble, print_next_command
from scripts.commands.options import AsJson, Command, SpecName, read_json_file, read_uuid
from scripts.database_url import open_database

if TYPE_CHECKING:
    from engine.runs.imports import Import, ImportedResult

_MOST_MISTAKES = 20


def import_results(
    spec: SpecName,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Step outputs, or whole output_payloads.")],
    org: Annotated[str, typer.Option(help="The organisation that they belong to.")],
    operation: Annotated[str | None, typer.Option(help="The operation, where the spec has several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Store step outputs from files and turn them into rows.

    Creates one submission, with a run and a step result per file; of two files about one key, the later one counts as
    newer. All files are checked before anything is stored. Exit status 1 if something was rejected or refused.
    """
    here = find_project()
    plan = find_plan(load_plans(here), spec)
    org_id = read_uuid(org, "--org")
    _check_files(plan, files, operation)
    with open_database(here) as dsn:
        stored = asyncio.run(_store_results(dsn, org_id, _read_results(plan, files, operation)))
        with _note_stored(plan, stored):
            report = backfill_with_progress(dsn, plan, Scope(org_ids=[org_id], submissions=[stored.submission_id]))
    report = {**report, "submission_id": stored.submission_id, "step_results": list(stored.step_result_ids)}
    if as_json:
        terminal.print_json(report)
    else:
        terminal.print_account(report)
        terminal.print_note(f"submission {stored.submission_id}, {len(stored.step_result_ids)} step result(s)")
        print_next_command(report)
    raise typer.Exit(1 if has_trouble(report) else 0)


@contextmanager
def _note_stored(plan: Plan, stored: Import) -> Iterator[None]:
    """Print what is stored if the `with` block, which writes the rows, fails or is interrupted."""
    try:
        yield
    except (EngineError, KeyboardInterrupt):
        terminal.print_note(
            f"the step results are stored, as submission {stored.submission_id}: `dex backfill {plan.name}` writes"
            " their rows; another import would store them again"
        )
        raise


def _check_files(plan: Plan, files: Sequence[str], operation: str | None) -> None:
    """Raise BadParameter that names each file which cannot be imported."""
    if operation is not None and operation not in plan.operations:
        known = ", ".join(plan.operations)
        raise typer.BadParameter(f"--operation: `{operation}` is no operation of `{plan.name}`, which has {known}")
    if "-" in files:
        raise typer.BadParameter("`-`: files are read twice, to be checked and to be stored; save it as a file")
    mistakes = []
    for file in files:
        try:
            _check_payload(plan, document.read_payloads(read_json_file(file), operation or plan.operations[0])[0])
        except (typer.BadParameter, exact_json.ExactError) as error:
            mistakes.append(error.message if isinstance(error, typer.BadParameter) else f"`{file}`: {error}")
        except ValueError as error:
            mistakes.append(f"`{file}`: {error}")
        if len(mistakes) == _MOST_MISTAKES:
            break
    if mistakes:
        raise typer.BadParameter("\n".join([*mistakes, "nothing was stored; correct these files and import all again"]))


def _check_payload(plan: Plan, payload: Any) -> None:
    """Raise ValueError if a payload would give no row of the plan, ExactError if Postgres cannot store it."""
    exact_json.check_storable(payload)
    result = payload["operation_result"]
    if result.get("operation_id") not in plan.operations:
        known = " or ".join(f"`{operation}`" for operation in plan.operations)
        raise ValueError(f"its operation is `{result.get('operation_id')}`, and `{plan.name}` takes {known}")
    if result.get("status") != "found":
        raise ValueError(f"its status is `{result.get('status')}`, and only what was `found` gives rows")
    if not isinstance(output := result.get("output"), dict):
        raise ValueError(f"its output is of the type `{exact_json.json_kind(output)}`, and that of a step is an object")


def _read_results(plan: Plan, files: Sequence[str], operation: str | None) -> Iterator[ImportedResult]:
    from engine.runs.imports import ImportedResult
    from engine.store.connection import RawJson

    for file in files:
        payload, input_payload = document.read_payloads(read_json_file(file), operation or plan.operations[0])
        step_input = None if input_payload is None else RawJson(exact_json.dumps(input_payload))
        yield ImportedResult(RawJson(exact_json.dumps(payload)), step_input)


async def _store_results(dsn: str, org_id: str, results: Iterator[ImportedResult]) -> Import:
    from engine.runs import imports
    from engine.store.connection import connect

    async with await connect(dsn) as connection:
        return await imports.import_results(connection, org_id, "dex import", results)


COMMANDS = (
    Command(
        "import",
        import_results,
        ("dex import icp_job_titles answer.json --org UUID",),
    ),
)
