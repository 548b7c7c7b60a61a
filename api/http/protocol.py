"""uvicorn's HTTP protocol with limits on the size of headers, the time a client takes, and the open connections.

uvicorn limits neither the size of headers nor the time in which a client sends headers and body or reads the response.
Here a timer checks the deadlines of all connections every second. Nor does it limit the requests that a client sends
before it has the responses to earlier ones (pipelining): here these are parsed once it is their turn.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.errors import Fault, build_response
from api.http.security_headers import SECURITY_HEADERS
from api.settings import Limits

log = structlog.get_logger("api")

#: Seconds between two checks of the deadlines.
_CHECK_INTERVAL = 1.0
#: Connections that one check closes at most, and the seconds until the next check where there are more. A thousand
#: closed at once hold up every request, and so do their clients, who all connect again.
_CLOSED_AT_ONCE = 50
_CLOSING_INTERVAL = 0.1
#: Seconds between two log lines about the same limit, so that many violations do not fill the log. Each line says how
#: many there were.
_REPORT_INTERVAL = 10.0
#: Bytes that the parser gets at a time. It cannot stop in the middle of them, so they bound the requests that are kept
#: while an earlier one of their connection is answered.
_PARSED_AT_ONCE = 4096


class ConnectionGuard:
    """All connections of one server: which are busy or idle, and how often each limit was exceeded."""

    def __init__(self, limits: Limits, most: int) -> None:
        self.limits = limits
        self.most = most
        self.open: set[BoundedHttpProtocol] = set()
        #: Connections without a running request, oldest first: `new` had no request yet, `kept` had one.
        self.new: dict[BoundedHttpProtocol, None] = {}
        self.kept: dict[BoundedHttpProtocol, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._excess_counts: dict[str, int] = {}
        self._reported: dict[str, float] = {}

    def admit_connection(self, connection: BoundedHttpProtocol) -> bool:
        """Register a connection; if there are too many, close another one that is idle.

        That is the oldest without a request so far, or else the one that has waited longest for its next request.
        Returns False if all are busy, so that the new one has to be refused.
        """
        if self._timer is None:
            self._timer = connection.loop.call_later(_CHECK_INTERVAL, self._close_overdue, connection.loop)
        if len(self.open) >= self.most:
            oldest = next(iter(self.new), None) or next(iter(self.kept), None)
            self.report_excess(connection.loop, "connections", self.most)
            if oldest is None:
                return False
            self.remove_connection(oldest)
            oldest.transport.abort()
        self.open.add(connection)
        self.new[connection] = None
        return True

    def remove_connection(self, connection: BoundedHttpProtocol) -> None:
        """Remove a closed connection."""
        self.open.discard(connection)
        self.mark_busy(connection)

    def mark_busy(self, connection: BoundedHttpProtocol) -> None:
        """Record that a request of the connection is running."""
        self.new.pop(connection, None)
        self.kept.pop(connection, None)

    def mark_idle(self, connection: BoundedHttpProtocol) -> None:
        """Record that the connection waits for its next request."""
        if connection in self.open:
            self.kept[connection] = None

    def report_excess(self, loop: asyncio.AbstractEventLoop, bound: str, limit: int) -> None:
        """Count that the limit `bound` was exceeded; log that at most every ten seconds, with the count since then."""
        self._excess_counts[bound] = self._excess_counts.get(bound, 0) + 1
        now = loop.time()
        if now - self._reported.get(bound, -_REPORT_INTERVAL) >= _REPORT_INTERVAL:
            log.warning("limit reached", limit=bound, value=limit, times=self._excess_counts.pop(bound))
            self._reported[bound] = now

    def _close_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        overdue = [connection for connection in self.open if connection.is_overdue(now)]
        for connection in overdue[:_CLOSED_AT_ONCE]:
            connection.end_overdue(now)
        interval = _CLOSING_INTERVAL if len(overdue) > _CLOSED_AT_ONCE else _CHECK_INTERVAL
        self._timer = loop.call_later(interval, self._close_overdue, loop) if self.open else None


class HeadTooLarge(Exception):
    """The request line and headers are larger than the limit."""


class BodyWouldBeLost(Exception):
    """A request with a body asks for another protocol: httptools takes the body for a part of that."""


class HeldFlowControl(FlowControl):
    """The flow control of a connection that reads nothing while `is_held`, although uvicorn resumes reading."""

    is_held = False

    def resume_reading(self) -> None:
        """Read again, unless the connection is held."""
        if not self.is_held:
            super().resume_reading()


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. `build_protocol` sets `guard`, which all connections of a server share."""

    guard: ClassVar[ConnectionGuard]
    flow: HeldFlowControl

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limits = self.guard.limits
        self.timeout_keep_alive = self.limits.idle_seconds
        self.request_task: asyncio.Task[Any] | None = None  # set by CancelOnDisconnect while the request is answered
        self.is_lost = False
        self._running: RequestResponseCycle | None = None  # while others wait, not `cycle`, the last one
        self._deadline: float | None = None
        self._phase = "idle"  # or "header", "body", "busy": what the deadline is for
        self._unread_deadline: float | None = None
        self._received = bytearray()  # what the parser did not get yet
        self._unparsed = 0  # bytes parsed since the parser last completed a header or a part of a body
        self._head_size = 0
        self._is_head_too_large = False
        self._would_lose_body = False
        self._has_received = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection, or refuse it if too many are busy."""
        super().connection_made(transport)
        self.flow = HeldFlowControl(transport)
        if not self.guard.admit_connection(self):
            self.send_fault("too_many_connections", "too many requests are under way", hint="try again in a moment")
            return
        self._set_phase("header", self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection, and cancel its running request."""
        self.is_lost = True
        self.guard.remove_connection(self)
        task = self.request_task
        is_answered = self._running is None or self._running.response_complete
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnected = True
        if task is not None and not is_answered:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse the request if they exceed the header limit without completing a header."""
        self._has_received = True
        self._received += data
        self._parse_received()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._head_size = 0
        if self._phase == "idle":
            self._set_phase("header", self.limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed = 0
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        self._would_lose_body = self.parser.should_upgrade() and any(
            name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in self.headers
        )
        if self._would_lose_body:
            raise BodyWouldBeLost
        self.guard.mark_busy(self)
        self._set_phase("body", self.limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        super().on_message_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._start_idling()
        else:
            self._phase, self._deadline = "busy", None

    def on_response_complete(self) -> None:
        """Begin with the next request that was received, if there is one."""
        has_waited = bool(self.pipeline)
        super().on_response_complete()
        if self._phase == "busy" and (self.cycle is None or self.cycle.response_complete):
            self._start_idling()
        self._parse_received()
        if has_waited and not self.pipeline and self._phase in ("header", "body"):
            self._set_phase(self._phase, self._get_limit())  # the client may not have been able to send the rest

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_deadline = self.loop.time() + self.limits.unread_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_deadline = None

    def send_400_response(self, msg: str) -> None:
        """Send 400 for what is not HTTP, or the reason why the parser was stopped."""
        if self._is_head_too_large:
            self._refuse_head()
        elif self._would_lose_body:
            message = "a request with a body asks for another protocol"
            self.send_fault("invalid_request", message, hint="send it as HTTP/1.1, without the header `upgrade`")
        else:
            self.send_fault("invalid_request", "the request is not HTTP", hint="send HTTP/1.1")

    def is_overdue(self, now: float) -> bool:
        """Return whether a deadline has passed that the client could have met."""
        return (self._deadline is not None and now > self._deadline and not self.pipeline) or (
            self._unread_deadline is not None and now > self._unread_deadline
        )

    def end_overdue(self, now: float) -> None:
        """Close the connection, whose deadline has passed; first send 408 if a request had begun."""
        if self._unread_deadline is not None and now > self._unread_deadline:
            self.guard.report_excess(self.loop, "unread_seconds", self.limits.unread_seconds)
            self.transport.abort()
            return
        phase, self._deadline = self._phase, None
        if phase == "idle" or not self._has_received:
            self.transport.close()
            return
        limit = self._get_limit()
        self.guard.report_excess(self.loop, f"{phase}_seconds", limit)
        if phase == "body" and self.cycle.response_started:
            self.transport.close()
            return
        self.send_fault("request_timeout", f"the {phase} did not end within {limit} seconds", hint="send it at once")

    def send_fault(self, code: str, message: str, *, hint: str) -> None:
        """Write an error response without calling the app, and close the connection."""
        response = build_response(Fault(code, message, hint=hint))
        headers = [*response.raw_headers, *SECURITY_HEADERS, (b"connection", b"close")]
        lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join((*lines, bytes(response.body))))
        self.transport.close()

    def _parse_received(self) -> None:
        """Parse what was received, up to a request that has to wait for the response before it.

        Read no more while there is something left to parse; otherwise read on, as only then a disconnect is seen.
        """
        while self._received and not self.pipeline and not self.transport.is_closing():
            part = bytes(self._received[:_PARSED_AT_ONCE])
            del self._received[:_PARSED_AT_ONCE]
            self._unparsed += len(part)
            super().data_received(part)
            if self._unparsed > self.limits.header_bytes and not self.transport.is_closing():
                self._refuse_head()
        if self.transport.is_closing():
            return
        was_held, self.flow.is_held = self.flow.is_held, bool(self._received)
        if self._received:
            self.flow.pause_reading()
        elif was_held or self.pipeline:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse_head(self) -> None:
        self.guard.report_excess(self.loop, "header_bytes", self.limits.header_bytes)
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        message = f"request line and headers are larger than {self.limits.header_bytes} bytes"
        self.send_fault("headers_too_large", message, hint="send large values in the body")

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.limits.header_bytes:
            self._is_head_too_large = True
            raise HeadTooLarge

    def _get_limit(self) -> int:
        return self.limits.header_seconds if self._phase == "header" else self.limits.body_seconds

    def _start_idling(self) -> None:
        self.guard.mark_idle(self)
        self._set_phase("idle", self.limits.idle_seconds)

    def _set_phase(self, phase: str, seconds: int) -> None:
        self._phase, self._deadline = phase, self.loop.time() + seconds


def build_protocol(guard: ConnectionGuard) -> type[BoundedHttpProtocol]:
    """Return the protocol class of a server, whose connections share `guard`."""
    return type("GuardedHttpProtocol", (BoundedHttpProtocol,), {"guard": guard})
