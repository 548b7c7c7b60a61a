"""Cancel a request whose client has disconnected, so that its SQL statement is cancelled too."""

from __future__ import annotations

import asyncio

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.protocol import BoundedHttpProtocol

log = structlog.get_logger("api")


class CancelOnDisconnect:
    """ASGI middleware that gives the request's task to `BoundedHttpProtocol`, which cancels it on disconnect.

    Under another HTTP server it has no effect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app; return normally if a disconnect cancelled the request."""
        connection = scope.get("state", {}).get("connection") if scope["type"] == "http" else None
        task = asyncio.current_task()
        if not isinstance(connection, BoundedHttpProtocol) or task is None:
            return await self.app(scope, receive, send)
        connection.request_task = task
        try:
            return await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not connection.is_lost:
                raise
            task.uncancel()
            log.info("client left", path=scope["path"])
            return None
        finally:
            connection.request_task = None
