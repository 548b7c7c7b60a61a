"""`Endpoint`, which describes an endpoint for the router and the OpenAPI document, and builders of JSON responses.

Endpoints are plain ASGI apps on Starlette routes. A FastAPI function with dependencies takes more time per request than
all our other Python code, and reads the body before the caller's credentials are checked.
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
    """One endpoint. `respond` returns the response or raises Fault or StoreError, which become error responses."""

    method: str
    path: str
    name: str  # the OpenAPI operation id
    title: str
    tag: str
    respond: Respond
    response_schema: JsonSchema = field(default_factory=dict)
    media_type: str = "application/json"
    media_types: Mapping[str, JsonSchema] = field(default_factory=dict)  # further response types -> their schemas
    body: JsonSchema | type[msgspec.Struct] | None = None
    body_required: bool = True
    example: Any = None
    security: tuple[str, ...] = ()  # names of security schemes; any one of them is enough
    headers: Mapping[str, tuple[bool, str]] = field(default_factory=dict)  # name -> (required, description)
    parameters: Mapping[str, tuple[JsonSchema, str]] = field(default_factory=dict)  # query string; all are optional
    error_statuses: tuple[int, ...] = ()  # besides 429 and 500
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
    """Replace the decorated function by an Endpoint that calls it; `options` are further fields of Endpoint."""

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
            return  # the client has disconnected
        await response(scope, receive, send)


class ExactPathMiddleware:
    """Call the endpoint whose method and path equal the request's; pass requests of other paths on.

    This is faster than FastAPI's middleware and Starlette's router, which tries one pattern after the other. It also
    answers GET on `.../query` with 405, where the router would match `query` as a row's id.
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
    """A response whose content is already encoded as JSON."""

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
    """A JSON response in pieces, sent as several ASGI messages of limited size.

    A page may have megabytes: joined as a whole it would be in memory twice, and written at once it would block the
    event loop for other requests.
    """

    media_type = "application/json"
    message_bytes = 256 * 1024

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = pieces
        self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces; give other tasks a turn between two messages."""
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
