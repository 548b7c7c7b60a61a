"""The tools for agents: each calls endpoints with the caller's credentials, and shortens the answer to `max_bytes`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw
from pydantic import ValidationError

from api.http.errors import Fault, build_invalid_fault
from api.mcp.arguments import Arguments, Costs, Coverage, Describe, Explain, Get, ListSpecs, Query
from api.mcp.endpoint_client import EndpointClient
from api.mcp.size import measure_text, shorten_answer
from api.mcp.spec_facts import describe_spec, summarize_spec
from engine.columns import is_document_column, list_columns
from engine.plan import Plan
from engine.plans import UnknownSpec, find_plan
from engine.rows.query import OPTIONS
from engine.values.uuid_text import parse_uuid

INSTRUCTIONS: Final = (
    "Rows made of research, one table per spec. Begin with `list_specs`, then `describe` the spec you need: its"
    " columns, filters and orders. `query` finds rows, `get` shows one, `explain` shows where a row's values come from"
    " and the evidence for them. `coverage` shows how many results have rows and why others have none, `costs` what the"
    " research cost. Answers are shortened to `max_bytes`; name few `fields` to see each of them whole."
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a call of a tool needs: all plans, and the client with the caller's credentials."""

    plans: Sequence[Plan]
    client: EndpointClient

    def find_plan(self, name: str) -> Plan:
        """Return the plan of the spec called `name`. Raises Fault 404 that lists the specs."""
        try:
            return find_plan(self.plans, name)
        except UnknownSpec as error:
            raise Fault("not_found", error.message, hint=error.hint) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTool:
    """A tool: its name, its description, the type of its arguments, and the function that returns its JSON answer."""

    name: str
    description: str
    arguments: type[Arguments]
    answer: Callable[[ToolCall, Any], Awaitable[bytes]]


async def call_tool(tool: AgentTool, call: ToolCall, arguments: Mapping[str, Any]) -> bytes:
    """Decode the arguments, call a tool, and return its answer as JSON text, shortened to `max_bytes`.

    Raises Fault for invalid arguments, EndpointRefused when an endpoint returns an error.
    """
    try:
        decoded = tool.arguments.model_validate(arguments)
    except ValidationError as error:
        fault = build_invalid_fault(error.errors())
        if "openapi.json" in fault.hint:  # which an agent cannot read
            fault.hint = f"the tool's schema describes the arguments of `{tool.name}`"
        raise fault from error
    return shorten_answer(await tool.answer(call, decoded), decoded.max_bytes)


def build_input_schema(tool: AgentTool, plans: Sequence[Plan]) -> dict[str, Any]:
    """Build the JSON Schema of a tool's arguments; `spec` is an enum of the specs' names."""
    schema = tool.arguments.model_json_schema()
    if "spec" in schema["properties"] and plans:
        spec = schema["properties"]["spec"]
        spec = next(
            (alternative for alternative in spec.get("anyOf", [spec]) if alternative.get("type") == "string"), spec
        )
        schema["properties"]["spec"] = {**spec, "enum": [plan.name for plan in plans]}
    return {name: value for name, value in schema.items() if name != "title"}


# --- the function of each tool --------------------------------------------------------------------------------------


async def _list_specs(call: ToolCall, arguments: ListSpecs) -> bytes:
    return _encode_data([summarize_spec(plan) for plan in call.plans])


async def _describe_spec(call: ToolCall, arguments: Describe) -> bytes:
    return _encode_data(describe_spec(call.find_plan(arguments.spec)))


async def _query_rows(call: ToolCall, arguments: Query) -> bytes:
    """Return one page that fits into `max_bytes`: if needed without document columns, then with fewer rows.

    The query is repeated with a smaller limit instead of cutting the page, so that the cursor is after its last row.
    """
    plan = call.find_plan(arguments.spec)
    path, body = f"/api/v1/{plan.slug}/query", _build_query_body(arguments)
    text = await call.client.post(path, body)
    notes: dict[str, Any] = {}
    if measure_text(text) > arguments.max_bytes and arguments.fields is None:
        columns = list_columns(plan)
        left_out = [name for name in columns if is_document_column(plan, name)]
        if left_out:
            body["fields"] = [name for name in columns if name not in left_out]
            notes["left_out"] = {"columns": left_out, "hint": "name them, or paths into them, in `fields`"}
            text = await call.client.post(path, body)
    for _ in range(3):  # rows may grow between queries; `call_tool` shortens what still does not fit
        rows = _count_fitting_rows(text, arguments.max_bytes)
        if rows >= body["limit"] or measure_text(text) <= arguments.max_bytes:
            break
        body["limit"] = rows
        notes["cut"] = f"{rows} rows fit `max_bytes`; `next_cursor` continues after them"
        text = await call.client.post(path, body)
    return _add_notes(text, notes) if notes else text


#: The options of the query endpoint, whose body has them beside the filters.
_OPTIONS: Final = (*OPTIONS, "fields", "cursor")


def _build_query_body(arguments: Query) -> dict[str, Any]:
    for name in arguments.filters:
        if name in _OPTIONS:  # the endpoint would read it as its own option
            hint = f"give `{name}` beside `filters`" if name in Query.model_fields else "leave it out"
            raise Fault("unknown_field", f"`filters`: `{name}` is no column", hint=hint)
    options = {name: getattr(arguments, name) for name in ("order", "q", "fields", "cursor", "count")}
    return {**arguments.filters, **{name: value for name, value in options.items() if value is not None}} | {
        "limit": arguments.limit
    }


#: Bytes reserved for the other parts of an answer than its rows: the cursor and the notes.
_META_BYTES: Final = 1_500


def _count_fitting_rows(text: bytes, most: int) -> int:
    """Return how many of the first rows of a page fit into `most` bytes, at least 1."""
    room, count = most - _META_BYTES, 0
    for row in msgspec.json.decode(text, type=_Page).data:
        room -= measure_text(bytes(row)) - 1
        if room < 0:
            break
        count += 1
    return max(count, 1)


class _Page(msgspec.Struct):
    """The response of a query, with undecoded rows."""

    data: list[Raw]
    meta: dict[str, Any]


def _add_notes(text: bytes, notes: Mapping[str, Any]) -> bytes:
    page = msgspec.json.decode(text, type=_Page)
    return msgspec.json.encode({"data": page.data, "meta": {**page.meta, **notes}})


async def _get_row(call: ToolCall, arguments: Get) -> bytes:
    path = f"/api/v1/{call.find_plan(arguments.spec).slug}/{_read_row_id(arguments.id)}"
    return await call.client.get(path, {"fields": ",".join(arguments.fields) if arguments.fields else None})


async def _explain_row(call: ToolCall, arguments: Explain) -> bytes:
    plan = call.find_plan(arguments.spec)
    path = f"/api/v1/{plan.slug}"
    if (arguments.id is None) == (not arguments.key) or (arguments.key and arguments.field is not None):
        names = ", ".join(f"`{name}`" for name in plan.conflict if name != "org_id")
        raise Fault("invalid_body", "give either `id`, and `field` for one cell, or `key`", hint=f"the key is {names}")
    if arguments.id is not None:
        return await call.client.get(f"{path}/{_read_row_id(arguments.id)}/explain", {"field": arguments.field})
    return await call.client.get(f"{path}/explain", arguments.key)


async def _show_coverage(call: ToolCall, arguments: Coverage) -> bytes:
    name = None if arguments.spec is None else call.find_plan(arguments.spec).name
    text = await call.client.get("/api/v1/coverage", {})
    if name is None:
        return text
    accounts = msgspec.json.decode(text)["data"]
    return _encode_data([account for account in accounts if account["spec"] == name])


async def _show_costs(call: ToolCall, arguments: Costs) -> bytes:
    return await call.client.get("/api/v1/costs", {"month": arguments.month})


def _read_row_id(text: str) -> str:
    row_id = parse_uuid(text)
    if row_id is None:
        raise Fault("not_found", "`id` is not a UUID", hint="take the `id` of a row that `query` shows")
    return row_id


def _encode_data(data: Any) -> bytes:
    return msgspec.json.encode({"data": data})


TOOLS: Final = (
    AgentTool(
        name="list_specs",
        description="List the specs: what kinds of rows there are.",
        arguments=ListSpecs,
        answer=_list_specs,
    ),
    AgentTool(
        name="describe",
        description="Describe a spec: its columns with their meaning, which filters and orders it takes, its key.",
        arguments=Describe,
        answer=_describe_spec,
    ),
    AgentTool(
        name="query",
        description="Find rows of a spec by filters, order and full text; page by page with `cursor`.",
        arguments=Query,
        answer=_query_rows,
    ),
    AgentTool(name="get", description="Show one row of a spec.", arguments=Get, answer=_get_row),
    AgentTool(
        name="explain",
        description="Show where each value of a row comes from: step result, path, raw value, normalizers, and the"
        " provider's evidence (citations, reasoning, confidence). By a key without a row: what is known of it.",
        arguments=Explain,
        answer=_explain_row,
    ),
    AgentTool(
        name="coverage",
        description="Show the accounts of your organisation: what was found, what became of it, and the reasons for"
        " what has no row.",
        arguments=Coverage,
        answer=_show_coverage,
    ),
    AgentTool(
        name="costs",
        description="Show what the research of your organisation cost, by operation and month, in USD.",
        arguments=Costs,
        answer=_show_costs,
    ),
)
