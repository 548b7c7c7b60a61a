"""Commands that start work: submit, demo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer

from engine import plans, project
from engine.values import exact_json
from scripts import console
from scripts.commands.backfill import as_uuid
from scripts.commands.spec import AsJson
from scripts.database_url import database


def submit(
    org: Annotated[str, typer.Option(help="The organisation.")],
    step: Annotated[list[str], typer.Option(help="An operation, in order; repeatable.")],
    inputs: Annotated[list[str], typer.Option("--input", help="A JSON object, or @FILE; one run each; repeatable.")],
    company: Annotated[str | None, typer.Option(help="The company to act for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Queue one run per input for the local runner (`dex worker`)."""
    from engine.runs import submissions
    from engine.store import organisation
    from engine.store.connection import connect
    from engine.store.errors import StoreRefused
    from engine.store.raw import RawJson

    steps = [
        {"position": place, "operation_id": _operation(operation), "step_config": {}, "is_enabled": True}
        for place, operation in enumerate(step, start=1)
    ]
    new = submissions.NewSubmission(
        org_id=as_uuid(org, "--org") or "",
        company_id=as_uuid(company, "--company"),
        steps=RawJson(orjson.dumps(steps)),
        inputs=RawJson(b"[" + b",".join(map(_input, inputs)) + b"]"),
        source="dex submit",
        metadata=RawJson(b"{}"),
        runner="local",
    )

    async def create(dsn: str) -> Any:
        async with await connect(dsn) as connection:
            try:
                return await submissions.create(connection, new)
            except StoreRefused as error:
                if not await organisation.exists(connection, new.org_id):
                    raise typer.BadParameter(f"--org: there is no organisation `{org}`") from error
                raise

    here = project.find()
    plans.load(here)
    with database(here) as dsn:
        made = asyncio.run(create(dsn))
    if as_json:
        console.emit(orjson.Fragment(made.json))
        return
    for run_id in made.run_ids:
        console.say(f"queued run {run_id}")
    console.note(f"{len(made.run_ids)} run(s) of {len(steps)} step(s); `dex worker` executes them")


def _operation(text: str) -> str:
    from api.runs.submissions import Step

    try:
        return msgspec.convert({"operation_id": text}, Step).operation_id
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"--step `{text[:80]}` is no operation's id: {error}") from error


def _input(text: str) -> bytes:
    try:
        value = exact_json.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
        written = exact_json.dumps(value)
    except (OSError, exact_json.ExactError) as error:
        raise typer.BadParameter(f"--input `{text[:80]}`: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"--input `{text[:80]}` is not a JSON object")
    return written


def demo() -> None:
    """Run a pipeline on recorded research, backfill, query, and show that the accounts close. Ends by itself."""
    from scripts.demo import run

    run(project.find())


COMMANDS = (submit, demo)
