"""The endpoints that list runs, by status or by a text in their input, and read one step result."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.auth import authenticate_tenant_or_admin, choose_organisation
from api.context import Context
from api.http.body import read_number, read_parameters
from api.http.endpoint import build_data_response, build_list_response, endpoint
from api.http.errors import Fault, InvalidBody
from api.http.openapi import build_data_schema
from api.rows.query_body import parse_organisation
from api.rows.tenant import TENANT_HEADERS
from engine.runs.run_list import (
    SEARCH_WINDOW,
    RunSearch,
    find_last_searched,
    list_runs_with_steps,
    read_step_result,
)
from engine.runs.statuses import RunStatus
from engine.store.identity import check_organisation
from engine.values.normalizers import NORMALIZERS, NormalizeError
from engine.values.uuid_text import parse_uuid

_MOST_RUNS: Final = 200
_MOST_OFFSET: Final = 10_000
_LONGEST_TEXT: Final = 200
_ORG: Final[tuple[dict[str, Any], str]] = ({"type": "string", "format": "uuid"}, "For super-admins: the organisation.")
_NULLABLE: Final = {"type": ["string", "null"]}
_STEP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "position", "status", "operation_id", "order", "results"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "position": {"type": "integer"},
        "attempt": {"type": "integer"},
        "status": {"type": "string"},
        "operation_id": _NULLABLE,
        "result_status": _NULLABLE,
        "error_message": _NULLABLE,
        **dict.fromkeys(("started_at", "finished_at", "recorded_at"), _NULLABLE),
        "order": {"type": ["object", "null"], "description": "The order of the step's research."},
        "results": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Under each spec: the outcome of the step result, the reasons and the rows.",
        },
    },
}
_RUN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "submission_id", "status", "created_at", "steps"],
    "properties": {
        **{name: {"type": "string", "format": "uuid"} for name in ("id", "submission_id")},
        "parent_pipeline_run_id": _NULLABLE,
        "status": {"type": "string"},
        "attempt": {"type": "integer"},
        "runner": {"type": "string"},
        "error_message": _NULLABLE,
        "created_at": {"type": "string", "format": "date-time"},
        **dict.fromkeys(("started_at", "finished_at"), _NULLABLE),
        "input": {"description": "The run's input; null where it is unknown or long."},
        "steps": {"type": "array", "items": _STEP},
    },
}
_STEP_RESULT: Final[dict[str, Any]] = {
    **_STEP,
    "required": [*_STEP["required"], "submission_id", "pipeline_run_id", "input_payload", "output_payload"],
    "properties": {
        **_STEP["properties"],
        **{name: {"type": "string", "format": "uuid"} for name in ("submission_id", "pipeline_run_id")},
        "input_payload": {},
        "output_payload": {},
    },
}


@endpoint(
    "GET",
    "/api/v1/runs",
    name="list_runs",
    title="Runs with their steps, orders and outcomes, newest first",
    tag="submissions",
    response_schema=build_data_schema({"type": "array", "items": _RUN}, {"type": "object"}),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={
        "q": (
            {"type": "string", "maxLength": _LONGEST_TEXT},
            f"A domain or a name: only runs whose input mentions it, among the newest {SEARCH_WINDOW};"
            " `meta.last_searched` is the oldest of them where there are more.",
        ),
        "before": ({"type": "string", "format": "uuid"}, "Only runs older than this one."),
        "status": ({"type": "string", "enum": [status.value for status in RunStatus]}, "Only runs with this status."),
        "submission_id": ({"type": "string", "format": "uuid"}, "Only runs of this submission."),
        "limit": ({"type": "integer", "minimum": 1, "maximum": _MOST_RUNS, "default": 50}, "Page size."),
        "offset": ({"type": "integer", "minimum": 0, "maximum": _MOST_OFFSET, "default": 0}, "Runs to skip."),
        "org_id": _ORG,
    },
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_runs(context: Context, request: Request) -> Response:
    """Answer the runs of the request's organisation that match the filters, newest first, with their steps."""
    caller = await authenticate_tenant_or_admin(request, context)
    parameters = read_parameters(request, ("q", "before", "status", "submission_id", "limit", "offset", "org_id"))
    wanted = RunSearch(
        org_id=choose_organisation(caller, parse_organisation(parameters.get("org_id"))),
        company_id=caller.company_id,
        status=_read_status(parameters.get("status")),
        submission_id=_read_id(parameters, "submission_id"),
        before=_read_id(parameters, "before"),
        texts=_spell_text(parameters.get("q", "").strip()),
        limit=read_number(parameters, "limit", 50, 1, _MOST_RUNS),
        offset=read_number(parameters, "offset", 0, 0, _MOST_OFFSET),
    )
    async with context.connection() as connection:
        runs = await list_runs_with_steps(connection, context.plans, wanted)
        if not runs:
            await check_organisation(connection, wanted.org_id)
        last = await find_last_searched(connection, wanted) if wanted.texts else None
    meta = {"limit": wanted.limit, "offset": wanted.offset}
    searched = {"searched": SEARCH_WINDOW, "last_searched": last} if wanted.texts else {}
    return build_list_response(runs, {**meta, **searched})


@endpoint(
    "GET",
    "/api/v1/step-results/{step_result_id}",
    name="read_step_result",
    title="One step result: its payloads, its order, and its outcome under each spec",
    tag="submissions",
    response_schema=build_data_schema(_STEP_RESULT),
    security=("tenant", "superAdmin"),
    headers=TENANT_HEADERS,
    parameters={"org_id": _ORG},
    error_statuses=(400, 401, 403, 404, 422, 503),
)
async def answer_step_result(context: Context, request: Request) -> Response:
    """Answer one step result of the request's organisation, with its payloads."""
    caller = await authenticate_tenant_or_admin(request, context)
    org_id = choose_organisation(caller, parse_organisation(read_parameters(request, ("org_id",)).get("org_id")))
    step_id = parse_uuid(request.path_params["step_result_id"])
    async with context.connection() as connection:
        found = step_id and await read_step_result(connection, context.plans, org_id, step_id, caller.company_id)
        if not found:
            await check_organisation(connection, org_id)
            raise Fault("not_found", "there is no such step result", hint="check the id and the organisation")
    return build_data_response(found)


def _read_status(text: str | None) -> str | None:
    if text is not None and text not in tuple(RunStatus):
        known = ", ".join(f"`{status}`" for status in RunStatus)
        raise InvalidBody(f"`status` is `{text[:40]}`", field="status", hint=f"send one of {known}")
    return text


def _read_id(parameters: dict[str, str], name: str) -> str | None:
    text = parameters.get(name)
    found = parse_uuid(text)
    if text is not None and found is None:
        raise InvalidBody(f"`{name}` is not a UUID", field=name)
    return found


def _spell_text(text: str) -> tuple[str, ...]:
    """Return the texts to search for: `text` itself, preceded by its domain where it is a URL or domain.

    Raises Fault 422 for a text that is too long.
    """
    if not text:
        return ()
    if len(text) > _LONGEST_TEXT or "\x00" in text:
        message = f"`q` takes at most {_LONGEST_TEXT} characters"
        raise InvalidBody(message, field="q", code="out_of_range", hint="send a domain or a name")
    try:
        domain = NORMALIZERS["domain"].function(text)
    except NormalizeError:
        domain = None
    return tuple(dict.fromkeys((str(domain), text))) if domain else (text,)


RUN_LIST_ENDPOINTS = (answer_runs, answer_step_result)
