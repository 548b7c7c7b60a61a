"""The commands that start pipeline runs: submit, demo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer

from engine.plans import load_plans
from engine.project import find_project
from engine.values import exact_json
from scripts import console
from scripts.commands.options import AsJson, Command, Group, read_optional_uuid, read_uuid
from scripts.database_url import open_database


def submit_inputs(
    org: Annotated[str, typer.Option(help="The organisation.")],
    step: Annotated[list[str], typer.Option(help="An operation, in order; repeatable.")],
    inputs: Annotated[list[str], typer.Option("--input", help="A JSON object, or @FILE; one run each; repeatable.")],
    company: Annotated[str | None, typer.Option(help="The company to act for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Queue one run per input for `dex worker`.

    Every run has the same steps, in the order given.
    """
    from engine.runs import submissions
    from engine.runs.statuses import Runner
    from engine.store.connection import RawJson, connect
    from engine.store.errors import UnknownOrganisation

    steps = [
        {"position": place, "operation_id": _check_operation(operation), "step_config": {}, "is_enabled": True}
        for place, operation in enumerate(step, start=1)
    ]
    new = submissions.NewSubmission(
        org_id=read_uuid(org, "--org"),
        company_id=read_optional_uuid(company, "--company"),
        steps=RawJson(orjson.dumps(steps)),
        inputs=RawJson(b"[" + b",".join(map(_read_input, inputs)) + b"]"),
        source="dex submit",
        metadata=RawJson(b"{}"),
        runner=Runner.LOCAL,
    )

    async def create_submission(dsn: str) -> Any:
        async with await connect(dsn) as connection:
            try:
                return await submissions.create_submission(connection, new)
            except UnknownOrganisation as error:
                raise typer.BadParameter(f"--org: there is no organisation `{org}`") from error

    here = find_project()
    load_plans(here)
    with open_database(here) as dsn:
        submission = asyncio.run(create_submission(dsn))
    if as_json:
        console.print_json(orjson.Fragment(submission.json))
        return
    for run_id in submission.run_ids:
        console.print_line(f"queued run {run_id}")
    console.print_note(f"{len(submission.run_ids)} run(s) of {len(steps)} step(s); `dex worker` executes them")


def _check_operation(text: str) -> str:
    """Return an operation's id as the API takes it. Raises BadParameter naming what is wrong."""
    from api.runs.submissions import Step

    try:
        return msgspec.convert({"operation_id": text}, Step).operation_id
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"--step `{text[:80]}` is no operation's id: {error}") from error


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


def show_demo() -> None:
    """Run everything once, on recorded research.

    Migrates, runs a pipeline, backfills, queries, and shows that the accounts close. It ends by itself.
    """
    from scripts.demo import run_demo

    run_demo(find_project())


COMMANDS = (
    Command(
        "submit",
        submit_inputs,
        (
            "dex submit --org $ORG --step company.derive.icp_job_titles \\",
            '      --input \'{"company_domain": "example.com"}\'',
            "dex submit --org $ORG --step company.derive.intel_briefing --input @one.json",
        ),
    ),
    Command("demo", show_demo, ("dex demo",)),
)

GROUPS: tuple[Group, ...] = ()
