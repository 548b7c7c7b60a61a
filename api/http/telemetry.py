"""What is seen of each request: an id, one log line, one measurement. Never a body, never a header's value.

In: ASGI messages on their way. Out: JSON lines on standard error, and what Meters counts. It must not know routes; it
is also the last net: an exception nobody foresaw is logged whole and answered as a 500.
"""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict

from api.http.errors import answer_unforeseen
from api.http.metrics import Meters
from api.settings import Settings

log = structlog.get_logger("api")

#: What an id from outside may look like; anything else is replaced, so that no log line can be forged through it.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Routes a machine asks every few seconds: logged only when they fail.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

UNMATCHED = "(no route)"


def configure() -> None:
    """Send structured logs as JSON lines to standard error. Repeating it changes nothing."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    for name in ("psycopg", "uvicorn"):
        logging.getLogger(name).handlers = [_Borrowed()]
        logging.getLogger(name).propagate = False


class _Borrowed(logging.Handler):
    """Writes what the driver and the server say (a lost connection, a broken request) as a line like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "library", logger=record.name, message=record.getMessage().split("\n", 1)[0])


class _StandardError:
    """File descriptor 2, written a line at a time: lines of two threads never mix, and nothing is left in a buffer."""

    def write(self, data: bytes) -> int:
        return os.write(2, data)

    def flush(self) -> None:
        return None


def _line(event: EventDict, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def warn_of_weak_secrets(settings: Settings) -> None:
    """Say once at the start which secret is shorter than HS256 asks for."""
    secrets = {"JWT_SECRET": settings.jwt_secret, "SUPER_ADMIN_JWT_SECRET": settings.super_admin_jwt_secret}
    for name, value in secrets.items():
        if value and len(value.encode()) < 32:
            log.warning("weak secret", setting=name, hint="use at least 32 random bytes")


class Telemetry:
    """Pure ASGI, since a wrapper that copies messages would cost more than the request."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app = app
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count and log it when it is done."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        seen = _Seen(send, request_id.encode())
        try:
            await self.app(scope, receive, seen)
        except Exception as error:
            if seen.status:
                log.error("broke off", exc_info=error)
                raise
            await (await answer_unforeseen(Request(scope), error))(scope, receive, seen)
        finally:
            self._note(scope, seen.status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["state"].get("route") or _literal(scope)
        method = scope["method"] if route != UNMATCHED else "*"
        self.meters.answered(method, route, status, seconds)
        if route in QUIET and status < 400:
            return
        write = log.error if status >= 500 else log.info
        write("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))


def _literal(scope: Scope) -> str:
    """The path of a route of the framework's own, such as /docs; those have no parameters."""
    matched = "endpoint" in scope and not scope.get("path_params")
    return str(scope["path"]) if matched else UNMATCHED


class _Seen:
    """Passes messages on, puts the request id on the head, remembers the status (0: nobody was there to answer)."""

    __slots__ = ("request_id", "send", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self.send = send
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.request_id)]
        await self.send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if REQUEST_ID.fullmatch(text):
                return str(text)
    return uuid.uuid4().hex
