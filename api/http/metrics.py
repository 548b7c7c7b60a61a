"""What is counted.

In: what happened. Out: the text Prometheus reads. It must not know HTTP nor the database. One registry per app, so
that two apps in one process do not share numbers.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Meters:
    """The counters of one app."""

    def __init__(self) -> None:
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
        self._repairs = Counter(
            "dex_repair_outcomes",
            "Step results by what became of them when their run ended.",
            ["spec", "outcome"],
            registry=self.registry,
        )
        self._ready = Gauge("dex_ready", "1 when the last readiness check found no problem.", registry=self.registry)
        self._route_cache: dict[tuple[str, str], tuple[Histogram, dict[int, Counter]]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is a template, never a path: a path would make a series per caller."""
        key = (method, route)
        if key not in self._route_cache:
            self._route_cache[key] = (self._seconds.labels(method, route), {})
        histogram, statuses = self._route_cache[key]
        if status not in statuses:
            statuses[status] = self._requests.labels(method, route, str(status))
        histogram.observe(seconds)
        statuses[status].inc()

    def upserted(self, spec: str, outcome: str, rows: int = 1) -> None:
        """Count what became of rows of a live upsert."""
        self._upserts.labels(spec, outcome).inc(rows)

    def repaired(self, spec: str, outcome: str, number: int) -> None:
        """Count what the repair at a run's end did."""
        if number:
            self._repairs.labels(spec, outcome).inc(number)

    def ready(self, is_ready: bool) -> None:
        """Note the answer of a readiness check."""
        self._ready.set(int(is_ready))

    def text(self) -> bytes:
        """Return everything counted in Prometheus' text format."""
        return generate_latest(self.registry)
