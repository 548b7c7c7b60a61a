"""The command that queues work: submit.

The modules that import the database driver are imported inside the functions, so that the other commands start fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from engine.errors import EngineError
from engine.orders.prices import load_prices
from engine.orders.steps import CostCeiling, StepRequest, check_steps, compute_cost_ceiling
from engine.plans import load_plans
from engine.project import Project, find_project
from engine.runs.errors import InvalidStepConfig, TooManyQueuedSteps, UnknownOperation
from engine.values import exact_json
from scripts import console
from scripts.commands.options import AsJson, Command, read_optional_uuid, read_uuid
from scripts.database_url import open_database
from scripts.input_files import InputFileError, count_inputs, read_inputs

#: Runs of one submission, as over HTTP. A file of more becomes several submissions.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What was asked for on the command line, checked."""

    org_id: str
    company_id: str | None
    operations: tuple[str, ...]
    file: Path | None
    inputs: tuple[bytes, ...]
    key: str | None  # of the submission; that of a file's submissions has their number behind it
    ceiling: CostCeiling


@dataclass(slots=True)
class _Report:
    submissions: list[str]  # as JSON texts
    run_ids: list[str]
    replayed: int = 0


def submit_inputs(
    org: Annotated[str, typer.Option(help="The organisation.")],
    step: Annotated[list[str], typer.Option(help="An operation, in order; repeatable.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="A JSON object, or @FILE; one run each; repeatable.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--inputs", help="CSV with a header, or JSON Lines; a run per line.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="The company to act for.")] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Submitted again under it, nothing is queued twice.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it may cost at most; queue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue one run per input for `dex worker`.

    Every run has the same steps, in the order given. A file is checked before anything is queued. Interrupted, it is
    submitted again under the idempotency key that was printed, and goes on where it stopped.
    """
    if (file is None) == (not inputs):
        raise typer.BadParameter("name either `--input`, once or more, or `--inputs FILE`")
    here = find_project()
    given = tuple(map(_read_input, inputs or ()))
    order = _Order(
        org_id=read_uuid(org, "--org"),
        company_id=read_optional_uuid(company, "--company"),
        operations=tuple(step),
        file=file,
        inputs=given,
        key=key or (str(uuid.uuid4()) if file is not None else None),
        ceiling=_compute_ceiling(here, step, _count_file(file) if file is not None else len(given)),
    )
    if dry_run:
        _print_dry_run(order.ceiling, as_json)
        return
    console.print_note(_describe_ceiling(order.ceiling))
    if file is not None and key is None:
        console.print_note(f"to go on after an interruption: --idempotency-key {order.key}")
    with open_database(here) as dsn:
        report = asyncio.run(_create_submissions(dsn, order))
    _print_report(order, report, as_json)


def _count_file(file: Path) -> int:
    try:
        return count_inputs(file)
    except InputFileError as error:
        raise typer.BadParameter(f"--inputs: {error.message}\n{error.hint}") from error


def _compute_ceiling(here: Project, operations: list[str], runs: int) -> CostCeiling:
    """Return what the runs may cost at most. Raises BadParameter for an operation that cannot be executed."""
    plans = load_plans(here)
    steps = [StepRequest(operation, {}) for operation in operations]
    try:
        check_steps(plans, steps)
    except (UnknownOperation, InvalidStepConfig) as error:
        raise typer.BadParameter(f"--step: {error.message}; {error.hint}") from error
    return compute_cost_ceiling(plans, load_prices(os.environ.get("DATA_ENGINE_PRICES")), steps, runs)


def _describe_ceiling(ceiling: CostCeiling) -> str:
    facts = ceiling.as_dict()
    cost = f"at most {facts['max_cost']} USD"
    if ceiling.unpriced:
        cost = f"cost unknown, without a price: {', '.join(ceiling.unpriced)}"
    return f"{ceiling.runs} run(s), {ceiling.steps} step(s): {cost}"


def _print_dry_run(ceiling: CostCeiling, as_json: bool) -> None:
    if as_json:
        console.print_json({"dry_run": True, **ceiling.as_dict()})
    else:
        console.print_line(f"{_describe_ceiling(ceiling)}; nothing was queued")


async def _create_submissions(dsn: str, order: _Order) -> _Report:
    """Store the submissions one after the other. Raises BadParameter, TooManyQueuedSteps."""
    from engine.runs.submissions import create_submission
    from engine.store.connection import connect
    from engine.store.errors import UnknownOrganisation

    report = _Report([], [])
    async with await connect(dsn) as connection:
        for number, batch in enumerate(_list_batches(order), start=1):
            try:
                created = await create_submission(connection, _build_submission(order, number, batch))
            except UnknownOrganisation as error:
                raise typer.BadParameter(f"--org: there is no organisation `{order.org_id}`") from error
            except TooManyQueuedSteps as error:
                raise _add_progress(error, order, len(report.run_ids)) from error
            report.submissions.append(created.json)
            report.run_ids += created.run_ids
            report.replayed += len(created.run_ids) if created.is_replayed else 0
            if order.file is not None:
                console.print_note(f"{len(report.run_ids)} of {order.ceiling.runs} run(s) queued")
    return report


def _add_progress(error: TooManyQueuedSteps, order: _Order, done: int) -> TooManyQueuedSteps:
    if order.file is None:
        return error
    hint = f"{error.hint}; then go on with `--idempotency-key {order.key}`"
    return TooManyQueuedSteps(f"{error.message}; {done} of {order.ceiling.runs} run(s) are queued", hint=hint)


def _list_batches(order: _Order) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for value in order.inputs if order.file is None else read_inputs(order.file):
        batch.append(value)
        if order.file is not None and len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _build_submission(order: _Order, number: int, batch: list[bytes]) -> Any:
    from api.settings import MAX_QUEUED_STEPS
    from engine.runs.statuses import Runner
    from engine.runs.submissions import NewSubmission
    from engine.store.connection import RawJson

    steps = [
        {"position": place, "operation_id": operation, "step_config": {}, "is_enabled": True}
        for place, operation in enumerate(order.operations, start=1)
    ]
    sent = [orjson.dumps([order.company_id, order.operations]), *batch]
    return NewSubmission(
        org_id=order.org_id,
        company_id=order.company_id,
        steps=RawJson(orjson.dumps(steps)),
        inputs=RawJson(b"[" + b",".join(batch) + b"]"),
        source="dex submit",
        metadata=RawJson(b"{}"),
        runner=Runner.LOCAL,
        requested_by="dex submit",
        idempotency_key=f"{order.key}/{number}" if order.file is not None else order.key,
        request_digest=hashlib.sha256(b"\n".join(sent)).hexdigest(),
        step_count=len(steps) * len(batch),
        max_queued_steps=_read_number("DATA_ENGINE_MAX_QUEUED_STEPS", MAX_QUEUED_STEPS),
    )


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not text.isdigit():
        raise EngineError(f"`{name}` is `{text}`", hint="write a whole number")
    return int(text or default)


def _print_report(order: _Order, report: _Report, as_json: bool) -> None:
    if as_json and order.file is None:
        console.print_json(orjson.Fragment(report.submissions[0]))
    elif as_json:
        listed = [orjson.loads(text)["id"] for text in report.submissions]
        counts = {"submissions": listed, "replayed": report.replayed, "idempotency_key": order.key}
        console.print_json({**order.ceiling.as_dict(), **counts})
    elif order.file is None:
        for run_id in report.run_ids:
            console.print_line(f"queued run {run_id}")
    if report.replayed:
        console.print_note(f"{report.replayed} run(s) were queued before, under the same idempotency key")
    console.print_note(f"{len(report.run_ids)} run(s) of {len(order.operations)} step(s); `dex worker` executes them")


def _read_input(text: str) -> bytes:
    """Return a JSON object, given as text or as `@FILE`, every number as written. Raises BadParameter."""
    try:
        value = exact_json.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
        written = exact_json.dumps(value)
    except (OSError, exact_json.ExactError) as error:
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
            '      --input \'{"company_domain": "example.com"}\'',
            "dex submit --org $ORG --step company.derive.intel_briefing --input @one.json",
            "dex submit --org $ORG --step company.derive.icp_job_titles \\",
            "      --inputs companies.csv --dry-run",
        ),
    ),
)
