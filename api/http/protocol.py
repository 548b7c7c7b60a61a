"""uvicorn's HTTP protocol, bounded in the size and the time of what a client sends, and in the number of connections.

uvicorn bounds neither the size of headers nor the time a client takes for them, nor the time of a body or of taking an
answer. Here each connection has at most one deadline, which one timer of the process looks at every second.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.errors import Fault, build_response
from api.http.security_headers import SECURITY_HEADERS
from api.settings import Limits

log = structlog.get_logger("api")

#: Seconds between two looks at the deadlines.
_SWEEP_INTERVAL = 1.0
#: Seconds between two log lines about the same bound, so that a flood does not fill the log; it says how often it bit.
_REPORT_INTERVAL = 10.0


class ConnectionGuard:
    """The connections of one server: how many there are, which only wait, and how often each bound bit."""

    def __init__(self, limits: Limits, most: int) -> None:
        self.limits = limits
        self.most = most
        self.open: set[BoundedHttpProtocol] = set()
        #: Connections without a request under way, oldest first: those that never had one, and the others.
        self.new: dict[BoundedHttpProtocol, None] = {}
        self.kept: dict[BoundedHttpProtocol, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._bites: dict[str, int] = {}
        self._reported: dict[str, float] = {}

    def admit(self, connection: BoundedHttpProtocol) -> bool:
        """Take in a connection. Beyond the bound the one that has waited longest for nothing makes room."""
        if self._timer is None:
            self._timer = connection.loop.call_later(_SWEEP_INTERVAL, self._close_overdue, connection.loop)
        if len(self.open) >= self.most:
            oldest = next(iter(self.new), None) or next(iter(self.kept), None)
            self.report(connection.loop, "connections", self.most)
            if oldest is None:
                return False
            self.dismiss(oldest)
            oldest.transport.abort()
        self.open.add(connection)
        self.new[connection] = None
        return True

    def dismiss(self, connection: BoundedHttpProtocol) -> None:
        """Forget a connection."""
        self.open.discard(connection)
        self.mark_busy(connection)

    def mark_busy(self, connection: BoundedHttpProtocol) -> None:
        """Note that a request of the connection is under way."""
        self.new.pop(connection, None)
        self.kept.pop(connection, None)

    def mark_idle(self, connection: BoundedHttpProtocol) -> None:
        """Note that the connection waits for its next request."""
        if connection in self.open:
            self.kept[connection] = None

    def report(self, loop: asyncio.AbstractEventLoop, bound: str, limit: int) -> None:
        """Log that a bound bit, at most once in ten seconds for each, with the number of times since."""
        self._bites[bound] = self._bites.get(bound, 0) + 1
        now = loop.time()
        if now - self._reported.get(bound, -_REPORT_INTERVAL) >= _REPORT_INTERVAL:
            log.warning("limit reached", limit=bound, value=limit, times=self._bites.pop(bound))
            self._reported[bound] = now

    def _close_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [one for one in self.open if one.is_overdue(now)]:
            connection.end_overdue(now)
        self._timer = loop.call_later(_SWEEP_INTERVAL, self._close_overdue, loop) if self.open else None


class HeadTooLarge(Exception):
    """Request line and headers are larger than the limit."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. `guard` is that of the server; `build_protocol` sets it."""

    guard: ClassVar[ConnectionGuard]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limits = self.guard.limits
        self.timeout_keep_alive = self.limits.idle_seconds
        self.request_task: asyncio.Task[Any] | None = None  # set by CancelOnDisconnect while the request is answered
        self.is_lost = False
        self._deadline: float | None = None
        self._phase = "idle"  # or "header", "body", "busy": what the deadline is about
        self._unread_deadline: float | None = None
        self._unparsed = 0  # bytes since the parser last made something of them
        self._head_size = 0
        self._is_head_too_large = False
        self._has_received = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or refuse it when as many as allowed are busy."""
        super().connection_made(transport)
        if not self.guard.admit(self):
            self.send_fault("too_many_connections", "too many requests are under way", hint="ask again in a moment")
            return
        self._set_phase("header", self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and cancel the request that nobody waits for any more."""
        self.is_lost = True
        self.guard.dismiss(self)
        task = self.request_task
        is_answered = self.cycle is None or self.cycle.response_complete
        super().connection_lost(exc)
        if task is not None and not is_answered:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse what grows without becoming a header or a body."""
        self._has_received = True
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > self.limits.header_bytes and not self.transport.is_closing():
            self._refuse_head()

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
        super().on_response_complete()
        if self._phase == "busy" and (self.cycle is None or self.cycle.response_complete):
            self._start_idling()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_deadline = self.loop.time() + self.limits.unread_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_deadline = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP. A parser stops here, too, when the headers are too large."""
        if self._is_head_too_large:
            self._refuse_head()
        else:
            self.send_fault("invalid_request", "the request is not HTTP", hint="send HTTP/1.1")

    def is_overdue(self, now: float) -> bool:
        """Return whether a deadline has passed."""
        return (self._deadline is not None and now > self._deadline) or (
            self._unread_deadline is not None and now > self._unread_deadline
        )

    def end_overdue(self, now: float) -> None:
        """End the connection whose deadline has passed, with an answer where there is something to answer."""
        if self._unread_deadline is not None and now > self._unread_deadline:
            self.guard.report(self.loop, "unread_seconds", self.limits.unread_seconds)
            self.transport.abort()
            return
        phase, self._deadline = self._phase, None
        if phase == "idle" or not self._has_received:
            self.transport.close()
            return
        limit = self.limits.header_seconds if phase == "header" else self.limits.body_seconds
        self.guard.report(self.loop, f"{phase}_seconds", limit)
        if phase == "body" and self.cycle.response_started:
            self.transport.close()
            return
        self.send_fault("request_timeout", f"the {phase} did not end within {limit} seconds", hint="send it at once")

    def send_fault(self, code: str, message: str, *, hint: str) -> None:
        """Answer outside of the app, and close the connection."""
        response = build_response(Fault(code, message, hint=hint))
        headers = [*response.raw_headers, *SECURITY_HEADERS, (b"connection", b"close")]
        lines = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join((*lines, bytes(response.body))))
        self.transport.close()

    def _refuse_head(self) -> None:
        self.guard.report(self.loop, "header_bytes", self.limits.header_bytes)
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        message = f"request line and headers are larger than {self.limits.header_bytes} bytes"
        self.send_fault("headers_too_large", message, hint="send what is large in the body")

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.limits.header_bytes:
            self._is_head_too_large = True
            raise HeadTooLarge

    def _start_idling(self) -> None:
        self.guard.mark_idle(self)
        self._set_phase("idle", self.limits.idle_seconds)

    def _set_phase(self, phase: str, seconds: int) -> None:
        self._phase, self._deadline = phase, self.loop.time() + seconds


def build_protocol(guard: ConnectionGuard) -> type[BoundedHttpProtocol]:
    """Return the protocol of a server, which shares one guard among its connections."""
    return type("GuardedHttpProtocol", (BoundedHttpProtocol,), {"guard": guard})
