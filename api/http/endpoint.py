"""Endpoints: what the router and the OpenAPI document need to know of each, and the responses they build.

Endpoints are plain ASGI apps on Starlette routes. A FastAPI function with dependencies costs more per request than
everything else outside Postgres, and reads the body before the caller's credentials are checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.context import Context, pool_share
from api.http.errors import Fault, answer_framework_error, build_response, build_store_fault
from engine.store.errors import DISK_FULL, StoreError, StoreRefused

Respond = Callable[[Context, Request], Awaitable[Response]]
JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint. `respond` returns its response or raises Fault or StoreError."""

    method: str
    path: str
    name: str  # the OpenAPI operation id
    title: str
    tag: str
    respond: Respond
    response_schema: JsonSchema = field(default_factory=dict)
    media_type: str = "application/json"
    media_types: Mapping[str, JsonSchema] = field(default_factory=dict)  # further ones, with their schemas
    body: JsonSchema | type[msgspec.Struct] | None = None
    body_required: bool = True
    example: Any = None
    security: tuple[str, ...] = ()  # names of security schemes; any one of them is enough
    headers: Mapping[str, tuple[bool, str]] = field(default_factory=dict)  # name -> (required, description)
    parameters: Mapping[str, tuple[JsonSchema, str]] = field(default_factory=dict)  # of the query string, none needed
    error_statuses: tuple[int, ...] = ()  # beside 500
    description: str = ""

    def build_route(self, context: Context) -> Route:
        """Return the Starlette route of the endpoint."""
        return Route(self.path, self.build_app(context), methods=[self.method], name=self.name)

    def build_app(self, context: Context) -> ASGIApp:
        """Return the ASGI app of the endpoint."""
        return _EndpointApp(self, context)


def endpoint(
    method: str, path: str, *, name: str, title: str, tag: str, **options: Any
) -> Callable[[Respond], Endpoint]:
    """Make an Endpoint of the decorated function; `options` are further fields of Endpoint."""

    def build_endpoint(respond: Respond) -> Endpoint:
        return Endpoint(method=method, path=path, name=name, title=title, tag=tag, respond=respond, **options)

    return build_endpoint


class _EndpointApp:
    """ASGI app of one endpoint. It stores the path template in the scope, where Telemetry reads it."""

    __slots__ = ("context", "path", "respond", "tag")

    def __init__(self, endpoint: Endpoint, context: Context) -> None:
        self.path = endpoint.path
        self.tag = endpoint.tag
        self.respond = endpoint.respond
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = self.path
        pool_share.set(self.tag)
        try:
            await self.context.readiness.require_fit(self.tag)
            response = await self.respond(self.context, Request(scope, receive))
        except Fault as fault:
            response = build_response(fault)
        except StoreError as error:
            if isinstance(error, StoreRefused) and error.sqlstate == DISK_FULL:
                self.context.readiness.record_full_disk()
            response = build_response(build_store_fault(error))
        except ClientDisconnect:
            return  # there is nobody left to answer
        await response(scope, receive, send)


class ExactPathMiddleware:
    """Call the endpoint whose method and path equal the request's; pass requests of other paths on.

    Starlette's router tries one pattern after the other, below six layers of which an endpoint needs none. It would
    also take the last word of `/query` for the id of a row when somebody asks with GET: such a path is answered 405.
    """

    def __init__(self, app: ASGIApp, endpoints: Iterable[Endpoint], context: Context) -> None:
        self._app = app
        self._apps = {
            (endpoint.method, endpoint.path): endpoint.build_app(context)
            for endpoint in endpoints
            if "{" not in endpoint.path
        }
        self._methods: dict[str, list[str]] = {}
        for method, path in self._apps:
            self._methods.setdefault(path, []).append(method)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to its endpoint or to the wrapped app."""
        app = self._apps.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if app is None and scope["type"] == "http" and self._methods.get(scope["path"]) == ["POST"]:
            refusal = HTTPException(405, headers={"Allow": "POST"})
            response = await answer_framework_error(Request(scope), refusal)
            return await response(scope, receive, send)
        return await (app or self._app)(scope, receive, send)


class EncodedJsonResponse(Response):
    """A response whose content is encoded JSON already."""

    media_type = "application/json"


def build_data_response(data: bytes | str, meta: Mapping[str, Any] | None = None) -> EncodedJsonResponse:
    """Return the response `{"data": ...}` around JSON text, with `meta` where it is given."""
    text = data.encode() if isinstance(data, str) else data
    if meta is None:
        return EncodedJsonResponse(b'{"data":%b}' % text)
    return EncodedJsonResponse(b'{"data":%b,"meta":%b}' % (text, msgspec.json.encode(meta)))


def build_list_response(rows: Sequence[bytes], meta: Mapping[str, Any]) -> Response:
    """Return the response `{"data": [...], "meta": ...}` around the JSON texts of rows."""
    pieces = [piece for row in rows for piece in (b",", row)][1:]
    return PiecesResponse((b'{"data":[', *pieces, b'],"meta":', msgspec.json.encode(meta), b"}"))


class PiecesResponse(Response):
    """A JSON response given in pieces, which are joined as far as one message of the server goes.

    A page may hold megabytes: joined whole it would stand in memory twice, and written at once it would hold up every
    other request of the process. Between two messages others get their turn.
    """

    media_type = "application/json"
    message_bytes = 256 * 1024

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = pieces
        self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        messages = _join_pieces(self.pieces, self.message_bytes)
        last = next(messages)
        for message in messages:
            await send({"type": "http.response.body", "body": last, "more_body": True})
            await asyncio.sleep(0)
            last = message
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _join_pieces(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the pieces joined into messages of about `size` bytes, at least one; a large piece is cut."""
    waiting, waiting_bytes = list[bytes](), 0
    for piece in pieces:
        if waiting and waiting_bytes + len(piece) > size:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
        start = 0
        while len(piece) - start > size:
            yield piece[start : start + size]
            start += size
        waiting.append(piece[start:])
        waiting_bytes += len(piece) - start
    yield b"".join(waiting)
