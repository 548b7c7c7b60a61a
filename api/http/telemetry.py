"""Log and measure every request: give it an id, write one JSON line to standard error, and count it in the metrics.

Neither bodies nor values of headers are logged. An exception that an endpoint does not handle is logged with its
traceback, and its response has status 500.
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
from api.http.traces import Traces, current_traceparent, read_traceparent

log = structlog.get_logger("api")

#: The form of a client's `x-request-id`; any other is replaced, so that it cannot forge a log line.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Routes that monitoring calls every few seconds; their requests are logged only if they fail.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

UNMATCHED = "(no route)"

#: The ids that an endpoint may add to the log lines of its request (`bind_run`).
_BOUND = ("pipeline_run_id", "trace_id")


def bind_run(run_id: object) -> None:
    """Add the id of a run to the log lines and the span of the current request."""
    if run_id is not None:
        structlog.contextvars.bind_contextvars(pipeline_run_id=str(run_id))


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

    It is a plain class, since Starlette's `BaseHTTPMiddleware` takes longer than the whole rest of a request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Traces | None = None) -> None:
        self.app = app
        self.metrics = metrics
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the wrapped app; count and log the request when it has ended."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        request_id = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        span = self._start_trace(scope)
        observed = _ObservedSend(send, request_id.encode())
        try:
            await self.app(scope, receive, observed)
        except Exception as error:
            if observed.status:
                log.error("broke off", exc_info=error)
                raise
            await (await answer_unexpected_error(Request(scope), error))(scope, receive, observed)
        finally:
            route = self._record_request(scope, observed.status, time.perf_counter() - started)
            if span is not None and self.traces is not None:
                bound = structlog.contextvars.get_contextvars()
                facts: dict[str, Any] = {
                    name: bound[name] for name in ("request_id", "pipeline_run_id") if name in bound
                }
                self.traces.end_span(span, scope["method"], route, observed.status, facts)
            structlog.contextvars.unbind_contextvars("request_id", *_BOUND)
        return None

    def _start_trace(self, scope: Scope) -> Any:
        """Start the span of a request and return it, None without traces; remember its trace context."""
        caller = read_traceparent(scope)
        current_traceparent.set(caller)
        span = None
        if self.traces is not None and scope["path"] not in QUIET:
            span = self.traces.start_span(scope["method"], caller)
        if trace := current_traceparent.get():
            structlog.contextvars.bind_contextvars(trace_id=trace.split("-")[1])
        return span

    def _record_request(self, scope: Scope, status: int, seconds: float) -> str:
        """Count and log a request; return its route."""
        route = str(scope["state"].get("route") or _find_framework_path(scope))
        method = scope["method"] if route != UNMATCHED else "*"
        self.metrics.count_request(method, route, status, seconds)
        if route in QUIET and status < 400:
            return route
        write = log.error if status >= 500 else log.info
        write("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))
        return route


def _find_framework_path(scope: Scope) -> str:
    """Return the path of a request to a route that is not one of our endpoints, such as `/docs`; else UNMATCHED."""
    is_matched = "endpoint" in scope and "route" not in scope and not scope.get("path_params")
    return str(scope["path"]) if is_matched else UNMATCHED


class _ObservedSend:
    """ASGI `send` that adds the request id to the headers and records the status; 0 means no response has started."""

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
