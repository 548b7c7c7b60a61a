"""The Prometheus metrics of one app.

Each app has a registry of its own, so that two apps in one process do not share counters.
"""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The Prometheus metrics of one app."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "dex_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "dex_http_request_seconds", "Time to answer.", ["method", "route"], buckets=BUCKETS, registry=self.registry
        )
        self._upserts = Counter(
            "dex_upsert_outcomes", "Rows of live upserts by outcome.", ["spec", "outcome"], registry=self.registry
        )
        self._claims = Counter(
            "dex_upsert_claims_differ",
            "Posted values that differ from those of the named step result.",
            ["spec"],
            registry=self.registry,
        )
        self._repairs = Counter(
            "dex_repair_outcomes",
            "Step results by what became of them when their run ended.",
            ["spec", "outcome"],
            registry=self.registry,
        )
        self._ready = Gauge("dex_ready", "1 when the last readiness check found no problem.", registry=self.registry)
        build = Info("dex_build", "What runs: the version of the project and of Python.", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
        self._route_cache: dict[tuple[str, str], tuple[Histogram, dict[int, Counter]]] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the path template, since the path itself would give a time series per id."""
        key = (method, route)
        if key not in self._route_cache:
            self._route_cache[key] = (self._seconds.labels(method, route), {})
        histogram, statuses = self._route_cache[key]
        if status not in statuses:
            statuses[status] = self._requests.labels(method, route, str(status))
        histogram.observe(seconds)
        statuses[status].inc()

    def count_upsert(self, spec: str, outcome: str) -> None:
        """Count a row of a live upsert by its outcome."""
        self._upserts.labels(spec, outcome).inc()

    def count_differing_claims(self, spec: str, number: int) -> None:
        """Count posted values that differ from those of the step result which an upsert names as its source."""
        if number:
            self._claims.labels(spec).inc(number)

    def count_repair(self, spec: str, outcome: str, number: int) -> None:
        """Count, by outcome, the step results that the repair at the end of a run has processed."""
        if number:
            self._repairs.labels(spec, outcome).inc(number)

    def set_ready(self, is_ready: bool) -> None:
        """Record the result of the last readiness check."""
        self._ready.set(int(is_ready))

    def format_text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
