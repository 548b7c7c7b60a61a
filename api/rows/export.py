"""The endpoint that streams all rows of a query as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import choose_organisation
from api.dependencies import AppContext, Reader, find_reader
from api.http.body import MAX_QUERY_BYTES
from api.http.errors import Fault
from api.http.route import BodyRoute
from api.rows import json_schemas
from api.rows.query_body import QueryBody
from api.rows.spec_router import SpecRouter
from engine.generate.examples import build_filters_example
from engine.plan import Plan
from engine.rows.export_formats import ExportFormat
from engine.rows.query import EXPORT_OPTIONS
from engine.store.export_files import ParquetMissing, check_format, write_export
from engine.store.identity import check_organisation

#: Seconds in which a client must read one part, since a client that stops reading occupies a pooled connection.
STALL_TIMEOUT: Final = 60.0
#: Seconds that a whole export may take.
EXPORT_SECONDS: Final = 6 * 3600.0
_ANY: Final = ("*/*", "application/*")


class ExportRoute(BodyRoute):
    """The route of an export: a caller who may read; a body of limited size."""

    most_bytes = MAX_QUERY_BYTES
    authenticate = staticmethod(find_reader)


def add_export_endpoint(spec: SpecRouter) -> None:
    """Add the endpoint that exports a plan's rows."""
    plan = spec.plan
    spec.add_endpoint(
        "POST",
        f"/api/v1/{plan.slug}/export",
        partial(_export_rows, plan),
        name=f"export_{plan.name}",
        title="the whole answer of a query, as a file",
        description="`Accept` names the format: `text/csv`, `application/x-ndjson` (the default) or"
        " `application/vnd.apache.parquet`. An answer that breaks off is cut short on the wire, and not ended.",
        body=json_schemas.build_export_body_schema(plan),
        body_example=build_filters_example(plan),
        files={
            ExportFormat.NDJSON.media_type: {"type": "string", "description": "One JSON object a line."},
            ExportFormat.CSV.media_type: {"type": "string", "description": "RFC 4180, with a header line."},
            ExportFormat.PARQUET.media_type: {"type": "string", "format": "binary"},
        },
        errors=(400, 401, 403, 404, 406, 413, 415, 422, 501, 503),
        response_class=Response,
        route_class=ExportRoute,
    )


async def _export_rows(plan: Plan, request: Request, caller: Reader, context: AppContext) -> Response:
    format_ = choose_format(request.headers.get("accept") or "*/*")
    try:
        check_format(format_)
    except ParquetMissing as error:
        raise Fault("export_unavailable", error.message, hint=error.hint) from error
    body = QueryBody.parse(plan, await request.body(), EXPORT_OPTIONS, paged=False)
    org_id = choose_organisation(caller, body.org_id)
    query = body.build_query(plan, org_id)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(context.export_connection(org_id, EXPORT_SECONDS))
        await check_organisation(connection, org_id)
        parts = write_export(connection, plan, query, format_)
        stack.push_async_callback(parts.aclose)
        first = await anext(parts, b"")  # so that an error of the query can still set the status
        return _ExportResponse(first, parts, stack.pop_all(), f"{plan.slug}.{format_}", format_)


def choose_format(accept: str) -> ExportFormat:
    """Return the format that an `Accept` header prefers, by default JSON Lines. Raises Fault 406 when none fits."""
    wanted = sorted(map(_read_media_range, accept.split(",")), key=lambda one: -one[1])
    for name, quality in wanted:
        if quality <= 0:
            continue
        if name in _ANY:
            return ExportFormat.NDJSON
        matching = [format_ for format_ in ExportFormat if name in (format_.media_type, f"{_main_type(format_)}/*")]
        if matching:
            return matching[0]
    known = ", ".join(f"`{format_.media_type}`" for format_ in ExportFormat)
    raise Fault("not_acceptable", f"there is no export in the format `{accept[:100]}`", hint=f"`Accept` one of {known}")


def _main_type(format_: ExportFormat) -> str:
    return format_.media_type.partition("/")[0]


def _read_media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0


class _ExportResponse(Response):
    """A response that streams the parts of a file, and at the end closes their generator and the connection."""

    def __init__(
        self, first: bytes, parts: AsyncGenerator[bytes], stack: AsyncExitStack, name: str, format_: ExportFormat
    ) -> None:
        super().__init__(media_type=format_.media_type)
        del self.headers["content-length"]
        self.headers["content-disposition"] = f'attachment; filename="{name}"'
        self.first, self.parts, self.stack = first, parts, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts.

        Raises TimeoutError when the client stops reading; the client then gets an incomplete response.
        """
        async with self.stack:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _send_part(send, self.first, more=True)
            async for part in self.parts:
                await _send_part(send, part, more=True)
            await _send_part(send, b"", more=False)


async def _send_part(send: Send, part: bytes, *, more: bool) -> None:
    async with asyncio.timeout(STALL_TIMEOUT):
        await send({"type": "http.response.body", "body": part, "more_body": more})
