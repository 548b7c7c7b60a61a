"""Log and measure every request: give it an id, write one JSON line to standard error, and count it in the metrics.

Neither bodies nor the values of headers are logged. An exception that an endpoint does not handle is logged with its
traceback and answered with status 500.
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

from api.http.errors import answer_unexpected_error
from api.http.metrics import Metrics

log = structlog.get_logger("api")

#: A client's `x-request-id` of another form is replaced, so that it cannot forge a log line.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Routes that monitoring calls every few seconds: logged only when they fail.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

UNMATCHED = "(no route)"


def configure_logging() -> None:
    """Send structured logs as JSON lines to standard error. May be called repeatedly."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_encode_event),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    for name in ("psycopg", "uvicorn"):
        logging.getLogger(name).handlers = [_LibraryLogs()]
        logging.getLogger(name).propagate = False


class _LibraryLogs(logging.Handler):
    """Logging handler that writes records of psycopg and uvicorn, such as a lost connection, as JSON lines too."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "library", logger=record.name, message=record.getMessage().split("\n", 1)[0])


class _StandardError:
    """Writes each line to file descriptor 2 in one unbuffered write, so that the lines of two threads do not mix."""

    def write(self, data: bytes) -> int:
        return os.write(2, data)

    def flush(self) -> None:
        return None


def _encode_event(event: EventDict, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class Telemetry:
    """ASGI middleware that logs and measures requests.

    It is a plain class, since Starlette's `BaseHTTPMiddleware` takes longer than the rest of a request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app; count and log the request when it has ended."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        request_id = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        observed = _ObservedSend(send, request_id.encode())
        try:
            await self.app(scope, receive, observed)
        except Exception as error:
            if observed.status:
                log.error("broke off", exc_info=error)
                raise
            await (await answer_unexpected_error(Request(scope), error))(scope, receive, observed)
        finally:
            self._record_request(scope, observed.status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")
        return None

    def _record_request(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["state"].get("route") or _find_framework_path(scope)
        method = scope["method"] if route != UNMATCHED else "*"
        self.metrics.count_request(method, route, status, seconds)
        if route in QUIET and status < 400:
            return
        write = log.error if status >= 500 else log.info
        write("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))


def _find_framework_path(scope: Scope) -> str:
    """Return the path of a request to a route of FastAPI itself, such as `/docs`, else UNMATCHED."""
    is_matched = "endpoint" in scope and not scope.get("path_params")
    return str(scope["path"]) if is_matched else UNMATCHED


class _ObservedSend:
    """ASGI `send` that adds the request id to the headers and keeps the status, 0 until the response has started."""

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


def _choose_request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if REQUEST_ID.fullmatch(text):
                return str(text)
    return uuid.uuid4().hex
