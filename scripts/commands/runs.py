"""The commands about pipeline runs: runs (list, show, cancel, retry), demo."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import EngineError
from engine.project import find_project
from engine.rows import render
from engine.runs.statuses import RunStatus
from scripts import terminal
from scripts.commands.options import AsJson, Command, Group, read_optional_uuid, read_uuid
from scripts.database_url import run_in_database

if TYPE_CHECKING:
    from engine.runs.management import ChangedRun
    from engine.store.connection import Connection

_COLUMNS = ("id", "status", "runner", "claims", "created_at", "finished_at", "input", "error_message")
_INPUT_WIDTH = 80  # the most characters of a run's input in a list
_STEP_COLUMNS = ("step_position", "operation_id", "status", "order_id", "error_message")
_ORDER_COLUMNS = ("id", "operation", "processor", "status", "price", "cost", "provider_run_id")

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")]


class NothingChanged(EngineError):
    """The status of the run does not allow it to be canceled or retried."""


def list_runs(
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs with this status.")] = None,
    abandoned: Annotated[bool, typer.Option("--abandoned", help="Only runs whose runner has died.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most runs to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from engine.runs import management

    wanted = management.RunFilter(
        org_id=read_optional_uuid(org, "--org"),
        status=None if status is None else status.value,
        abandoned=abandoned,
        limit=limit,
    )
    runs = run_in_database(lambda connection: management.list_runs(connection, wanted), wanted.org_id)
    terminal.print_cut(len(runs), limit, "runs")
    if as_json:
        terminal.print_json([render.embed_json(run) for run in runs])
        return
    listed = [json.loads(run) for run in runs]
    terminal.print_rows(_COLUMNS, [{**run, "input": _format_input(run["input"], _INPUT_WIDTH)} for run in listed])
    left = sum(run["is_abandoned"] for run in listed)
    if left:
        terminal.print_note(f"{left} run(s) have no runner any more: `dex worker`, or `dex runs retry RUN`")


def show_run(run: RunId, as_json: AsJson = False) -> None:
    """Show a run with its steps and orders."""
    from engine.orders import listing

    run_id = read_uuid(run, "RUN")
    _print_run(run_in_database(lambda connection: listing.show_run(connection, run_id)), as_json)


def cancel_run(run: RunId, as_json: AsJson = False) -> None:
    """Cancel a run that has not ended.

    It places no more orders. Answers to orders that it has placed are still collected.
    """
    from engine.runs import management

    _change_run(read_uuid(run, "RUN"), management.cancel_runs, "it has ended, and there is nothing to cancel", as_json)


def retry_run(run: RunId, as_json: AsJson = False) -> None:
    """Queue a run again.

    It must have failed, been canceled, or lost its runner. Steps that succeeded keep their results, and orders that may
    still be answered are not placed again. The API dispatches a run of Trigger.dev within a minute.
    """
    from engine.runs import management

    _change_run(
        read_uuid(run, "RUN"),
        management.retry_runs,
        "only what failed, was canceled or lost its runner is queued again",
        as_json,
    )


def _change_run(run_id: str, change: Callable[..., Awaitable[list[ChangedRun]]], otherwise: str, as_json: bool) -> None:
    async def change_run(connection: Connection) -> tuple[bool, str]:
        from engine.orders import listing

        await listing.show_run(connection, run_id)  # raises for a run that is not there
        changed = await change(connection, run_id=run_id)
        return bool(changed), await listing.show_run(connection, run_id)

    is_changed, text = run_in_database(change_run)
    if not is_changed:
        status = json.loads(text)["status"]
        raise NothingChanged(f"the run is `{status}`: {otherwise}", hint=f"`dex runs show {run_id}` says more")
    _print_run(text, as_json)


def _print_run(text: str, as_json: bool) -> None:
    if as_json:
        terminal.print_json(render.embed_json(text))
        return
    run = json.loads(text)
    for name in ("id", "status", "runner", "claims", "restarts", "created_at", "finished_at", "error_message"):
        if run[name] is not None:
            terminal.print_line(f"{name}: {run[name]}")
    if run["input"] is not None:
        terminal.print_line(f"input: {_format_input(run['input'])}")
    if run["is_abandoned"]:
        terminal.print_note("it has no runner any more: `dex worker` takes it up, or `dex runs retry`")
    terminal.print_rows(_STEP_COLUMNS, run["step_results"])
    if run["orders"]:
        terminal.print_rows(_ORDER_COLUMNS, run["orders"])


def _format_input(value: Any, width: int | None = None) -> str | None:
    """Return the input of a run as one line of JSON, cut at `width` characters; a text was cut already."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if width is None or len(text) <= width else f"{text[:width]}…"


def show_demo() -> None:
    """Demonstrate the whole system on recorded research.

    It migrates, runs a pipeline, backfills, queries, and shows that the accounts close. It ends by itself.
    """
    from scripts.demo import run_demo

    run_demo(find_project())


COMMANDS = (Command("demo", show_demo, ("dex demo",)),)

GROUPS = (
    Group(
        "runs",
        None,
        (),
        (
            Command("list", list_runs, ("dex runs list", "dex runs list --status failed --json")),
            Command("show", show_run, ("dex runs show $RUN",)),
            Command("cancel", cancel_run, ("dex runs cancel $RUN",)),
            Command("retry", retry_run, ("dex runs retry $RUN",)),
        ),
        summary="List, show, cancel and retry runs.",
    ),
)
