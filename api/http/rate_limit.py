"""Limit the requests per second of each client address."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import is_internal_key
from api.context import Context
from api.http.errors import Fault, build_response

log = structlog.get_logger("api")

#: Paths without a limit: an orchestrator that gets 429 here would restart the process, or send it no requests.
_UNBOUNDED = ("/healthz", "/readyz")
_REPORT_EVERY = 1000  # refusals of one address per log line


class RateLimit:
    """ASGI middleware that sends 429 to an address that exceeds its rate; requests with the internal key are exempt."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app, or send 429 before the body is read."""
        if scope["type"] != "http" or scope["path"] in _UNBOUNDED:
            return await self.app(scope, receive, send)
        address = scope["client"][0] if scope.get("client") else ""
        if self.context.requests.take_token(address) or _is_internal(scope, self.context):
            return await self.app(scope, receive, send)
        if self._refused % _REPORT_EVERY == 0:
            log.warning("limit reached", limit="requests_per_second", address=address, times=self._refused + 1)
        self._refused += 1
        fault = Fault(
            "too_many_requests",
            "more requests came from your address than it may send",
            hint="try again later, and more slowly",
            headers={"retry-after": str(self.context.requests.find_wait(address))},
        )
        return await build_response(fault)(scope, receive, send)


def _is_internal(scope: Scope, context: Context) -> bool:
    scheme, _, value = Request(scope).headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and is_internal_key(value.strip(), context)
