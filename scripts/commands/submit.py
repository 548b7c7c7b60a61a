"""The command `dex submit`, which queues runs.

Modules that import the database driver are imported inside the functions, so that other commands start fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import EngineError
from engine.orders.prices import load_prices
from engine.orders.steps import CostCeiling, StepRequest, check_steps, compute_cost_ceiling
from engine.plans import load_plans
from engine.project import Project, find_project
from engine.rows import render
from engine.runs.errors import IdempotencyConflict, InvalidStepConfig, RunError, TooManyQueuedSteps, UnknownOperation
from engine.values import exact_json
from scripts import terminal
from scripts.commands.options import AsJson, Command, read_optional_uuid, read_uuid
from scripts.database_url import has_database, open_database, require_organisation
from scripts.input_files import InputFileError, count_inputs, read_inputs

#: The most runs of one submission, as in the API. A file with more inputs becomes several submissions.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arguments:
    """The validated arguments of the command line."""

    org_id: str
    company_id: str | None
    operations: tuple[str, ...]
    file: Path | None
    inputs: tuple[bytes, ...]
    key: str | None  # the idempotency key; submissions from a file append `/` and a number
    ceiling: CostCeiling


@dataclass(slots=True)
class _Report:
    submissions: list[str]  # as JSON texts
    run_ids: list[str]
    replayed: int = 0


def submit_inputs(
    org: Annotated[str, typer.Option(help="The organisation.")],
    step: Annotated[list[str], typer.Option(help="An operation; repeated for several steps, in order.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="A JSON object or @FILE; may be repeated, one run each.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--inputs", help="CSV with a header, or JSON Lines; one run per line.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="The company of the submission.")] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Repeating a key and its inputs queues nothing twice.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the most it may cost; queue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue one run per input for `dex worker`.

    Every run has the same steps, in the given order. A file is checked before anything is queued. To continue after an
    interruption, repeat the command with the idempotency key that it printed.
    """
    if (file is None) == (not inputs):
        raise typer.BadParameter("name either `--input`, once or more, or `--inputs FILE`")
    here = find_project()
    parsed = tuple(map(_read_input, inputs or ()))
    arguments = _Arguments(
        org_id=read_uuid(org, "--org"),
        company_id=read_optional_uuid(company, "--company"),
        operations=tuple(step),
        file=file,
        inputs=parsed,
        key=key or (str(uuid.uuid4()) if file is not None else None),
        ceiling=_compute_ceiling(here, step, _count_file(file) if file is not None else len(parsed)),
    )
    if dry_run:
        _check_organisation(here, arguments.org_id)
        _print_dry_run(arguments.ceiling, as_json)
        return
    terminal.print_note(_describe_ceiling(arguments.ceiling))
    if file is not None and key is None:
        terminal.print_note(f"to go on after an interruption: --idempotency-key {arguments.key}")
    with open_database(here) as dsn:
        report = asyncio.run(_create_submissions(dsn, arguments))
    _print_report(arguments, report, as_json)


def _count_file(file: Path) -> int:
    try:
        return count_inputs(file)
    except InputFileError as error:
        raise typer.BadParameter(f"--inputs: {error.message}\n{error.hint}") from error


def _compute_ceiling(here: Project, operations: list[str], runs: int) -> CostCeiling:
    """Compute the most that the runs can cost. Raises BadParameter for an operation that cannot be executed."""
    plans = load_plans(here)
    steps = [StepRequest(operation, {}) for operation in operations]
    try:
        check_steps(plans, steps)
    except (UnknownOperation, InvalidStepConfig) as error:
        raise typer.BadParameter(f"--step: {error.message}; {error.hint}") from error
    return compute_cost_ceiling(plans, load_prices(os.environ.get("DATA_ENGINE_PRICES")), steps, runs)


def _check_organisation(here: Project, org_id: str) -> None:
    """Raise UnknownOrganisation if the database has no such organisation; print a note if it cannot be asked."""
    from engine.store.errors import StoreRefused, StoreUnavailable

    if not has_database(here):
        terminal.print_note("the organisation was not looked up: there is no database yet")
        return
    try:
        with open_database(here) as dsn:
            require_organisation(dsn, org_id)
    except (StoreRefused, StoreUnavailable) as error:
        terminal.print_note(f"the organisation was not looked up: {error.message}")


def _describe_ceiling(ceiling: CostCeiling) -> str:
    facts = ceiling.as_dict()
    cost = f"at most {facts['max_cost']} USD"
    if ceiling.unpriced:
        cost = f"cost unknown, without a price: {', '.join(ceiling.unpriced)}"
    return f"{ceiling.runs} run(s), {ceiling.steps} step(s): {cost}"


def _print_dry_run(ceiling: CostCeiling, as_json: bool) -> None:
    if as_json:
        terminal.print_json({"dry_run": True, **ceiling.as_dict()})
    else:
        terminal.print_line(f"{_describe_ceiling(ceiling)}; nothing was queued")


async def _create_submissions(dsn: str, arguments: _Arguments) -> _Report:
    """Store the submissions one after the other; return their ids.

    Raises UnknownOrganisation, TooManyQueuedSteps when the organisation's queue is full, and IdempotencyConflict when
    the idempotency key was sent before with other inputs.
    """
    from engine.runs.submissions import create_submission
    from engine.store.connection import connect

    report = _Report([], [])
    async with await connect(dsn) as connection:
        for number, batch in enumerate(_list_batches(arguments), start=1):
            try:
                created = await create_submission(connection, _build_submission(arguments, number, batch))
            except (IdempotencyConflict, TooManyQueuedSteps) as error:
                if arguments.file is None:
                    raise
                raise _add_progress(error, arguments, len(report.run_ids)) from error
            report.submissions.append(created.json)
            report.run_ids += created.run_ids
            report.replayed += len(created.run_ids) if created.is_replayed else 0
            if arguments.file is not None:
                terminal.print_note(f"{len(report.run_ids)} of {arguments.ceiling.runs} run(s) queued")
    return report


def _add_progress(error: RunError, arguments: _Arguments, done: int) -> RunError:
    """Add to the error of a file's submission how many of its runs are queued, and how to continue."""
    queued = f"{error.message}; {done} of {arguments.ceiling.runs} run(s) are queued"
    if isinstance(error, IdempotencyConflict):
        changed = "the file has changed since it was submitted under this key"
        hint = f"{changed}: submit the unchanged file, or only what is new, under another key"
        return IdempotencyConflict(queued, hint=hint)
    return TooManyQueuedSteps(queued, hint=f"{error.hint}; then go on with `--idempotency-key {arguments.key}`")


def _list_batches(arguments: _Arguments) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for value in arguments.inputs if arguments.file is None else read_inputs(arguments.file):
        batch.append(value)
        if arguments.file is not None and len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _build_submission(arguments: _Arguments, number: int, batch: list[bytes]) -> Any:
    from api.settings import MAX_QUEUED_STEPS
    from engine.runs.statuses import Runner
    from engine.runs.submissions import NewSubmission
    from engine.store.connection import RawJson

    steps: list[Any] = [
        {"position": place, "operation_id": operation, "step_config": {}, "is_enabled": True}
        for place, operation in enumerate(arguments.operations, start=1)
    ]
    sent = [exact_json.dumps([arguments.company_id, list(arguments.operations)]), *batch]
    return NewSubmission(
        org_id=arguments.org_id,
        company_id=arguments.company_id,
        steps=RawJson(exact_json.dumps(steps)),
        inputs=RawJson(b"[" + b",".join(batch) + b"]"),
        source="dex submit",
        metadata=RawJson(b"{}"),
        runner=Runner.LOCAL,
        requested_by="dex submit",
        idempotency_key=f"{arguments.key}/{number}" if arguments.file is not None else arguments.key,
        request_digest=hashlib.sha256(b"\n".join(sent)).hexdigest(),
        step_count=len(steps) * len(batch),
        max_queued_steps=_read_number("DATA_ENGINE_MAX_QUEUED_STEPS", MAX_QUEUED_STEPS),
    )


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not text.isdigit():
        raise EngineError(f"`{name}` is `{text}`", hint="write a whole number")
    return int(text or default)


def _print_report(arguments: _Arguments, report: _Report, as_json: bool) -> None:
    if as_json and arguments.file is None:
        terminal.print_json(render.embed_json(report.submissions[0]))
    elif as_json:
        listed = [json.loads(text)["id"] for text in report.submissions]
        counts = {"submissions": listed, "replayed": report.replayed, "idempotency_key": arguments.key}
        terminal.print_json({**arguments.ceiling.as_dict(), **counts})
    elif arguments.file is None:
        for run_id in report.run_ids:
            terminal.print_line(f"queued run {run_id}")
    if report.replayed:
        terminal.print_note(f"{report.replayed} run(s) were queued before, under the same idempotency key")
    terminal.print_note(
        f"{len(report.run_ids)} run(s) of {len(arguments.operations)} step(s); `dex worker` executes them"
    )


def _read_input(text: str) -> bytes:
    """Return the JSON text of an object, given as text or as `@FILE`; its numbers are unchanged.

    Raises BadParameter when the file cannot be read, or the text is not a JSON object.
    """
    try:
        value = exact_json.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
        written = exact_json.dumps(value)
    except OSError as error:
        raise typer.BadParameter(f"--input: cannot read `{text[1:]}`: {error.strerror}") from error
    except exact_json.ExactError as error:
        raise typer.BadParameter(f"--input `{text[:80]}`: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"--input `{text[:80]}` is not a JSON object")
    return written


COMMANDS = (
    Command(
        "submit",
        submit_inputs,
        (
            "dex submit --org $ORG --step company.derive.icp_job_titles \\",
            '  --input \'{"company_domain": "example.com"}\'',
            "dex submit --org $ORG --step company.derive.intel_briefing --input @one.json",
            "dex submit --org $ORG --step company.derive.icp_job_titles \\",
            "  --inputs companies.csv --dry-run",
        ),
    ),
)
