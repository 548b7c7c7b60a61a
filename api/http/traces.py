"""OpenTelemetry traces, an optional part of the installation (`traces`): a span per request, parents by `traceparent`.

OpenTelemetry is imported only if `OTEL_EXPORTER_OTLP_ENDPOINT` says where to send spans. Without it a caller's trace
context is still passed on: a run keeps the `traceparent` of its submission, and its runner sends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

log = structlog.get_logger("api")

#: The W3C trace context of the current request: of its span or, without spans, the caller's.
current_traceparent: ContextVar[str | None] = ContextVar("current_traceparent", default=None)

_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVICE: Final = "data-engine-x"


def names_trace_endpoint(variables: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry's environment variables say where to send spans."""
    return any(name in variables for name in _ENDPOINT_VARIABLES)


def read_traceparent(scope: Any) -> str | None:
    """Return the caller's trace context; None if it sent none, or one that cannot be read."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return value.decode() if _TRACEPARENT.fullmatch(value) else None
    return None


class Traces:
    """Makes a span of each request and exports it over OTLP, in the background."""

    def __init__(self, provider: TracerProvider, tracer: Tracer) -> None:
        self._provider = provider
        self._tracer = tracer

    def start_span(self, method: str, traceparent: str | None) -> Span:
        """Start the span of a request as a child of the caller's, and make its trace context the current one."""
        from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {} if traceparent is None else {"traceparent": traceparent}
        parent = TraceContextTextMapPropagator().extract(carrier)
        span = self._tracer.start_span(method, context=parent, kind=SpanKind.SERVER)
        ids = span.get_span_context()
        flags = f"{int(ids.trace_flags):02x}"
        current_traceparent.set(f"00-{format_trace_id(ids.trace_id)}-{format_span_id(ids.span_id)}-{flags}")
        return span

    def end_span(self, span: Span, method: str, route: str, status: int, facts: Mapping[str, Any]) -> None:
        """End the span of a request and name it after its route; `facts` are ids, such as that of a run."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(f"{method} {route}")
        span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
        span.set_attributes({f"dex.{name}": str(value) for name, value in facts.items()})
        if status >= 500 or status == 0:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def shut_down(self) -> None:
        """Export the remaining spans."""
        self._provider.shutdown()


def build_traces(*, is_wanted: bool, version: str) -> Traces | None:
    """Return the traces of this process; None if they are not wanted, or the part `traces` is not installed."""
    if not is_wanted:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "no traces", reason="the part `traces` is not installed", hint="pip install 'data-engine-x[traces]'"
        )
        return None
    resource = Resource.create({"service.name": _SERVICE, "service.version": version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider, provider.get_tracer(_SERVICE))
