"""The middleware of the app, outermost first. Every request passes through all of it."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.context import Context
from api.http.disconnect import CancelOnDisconnect
from api.http.rate_limit import RateLimit
from api.http.security_headers import SecurityHeaders
from api.http.telemetry import Telemetry

#: Responses smaller than this many bytes are not compressed.
_LEAST_BYTES: Final = 1000
#: The gzip level. At any level documents shrink to a third; higher levels block the event loop several times longer.
_LEVEL: Final = 3
#: The headers that pages of other origins may send; those of MCP are what its clients send with each message.
_HEADERS: Final = (
    *("authorization", "content-type", "content-encoding", "idempotency-key", "x-request-id"),
    *("mcp-protocol-version", "mcp-method", "mcp-name"),
)
_ANSWER_HEADERS: Final = ("x-request-id", "retry-after", "content-disposition")


#: An `Accept-Encoding` that refuses gzip, which Starlette takes for one that accepts it.
_REFUSES_GZIP: Final = re.compile(r"\bgzip\s*;\s*q=0(\.0*)?\s*(,|$)", re.IGNORECASE)


class AcceptedGzip(GZipMiddleware):
    """ASGI middleware that compresses responses for clients that accept gzip."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app."""
        if scope["type"] == "http" and _REFUSES_GZIP.search(Headers(scope=scope).get("accept-encoding", "")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class HeadAsGet:
    """ASGI middleware that makes routes handle HEAD like GET; the HTTP server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, receive, send)


def list_middleware(context: Context) -> list[Middleware]:
    """Return the middleware of an app. Cookies are not used: pages of other origins have to send a token."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=context.settings.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=_HEADERS,
        expose_headers=_ANSWER_HEADERS,
        max_age=3600,
    )
    return [
        Middleware(CancelOnDisconnect),
        Middleware(SecurityHeaders),
        Middleware(Telemetry, metrics=context.metrics, traces=context.traces),
        Middleware(RateLimit, context=context),
        *([cors] if context.settings.cors_origins else []),
        Middleware(AcceptedGzip, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL),
        Middleware(HeadAsGet),
    ]
