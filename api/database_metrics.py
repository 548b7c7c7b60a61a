"""Metrics from the database: numbers that are read when metrics are requested, but at most every few seconds.

They are read over the operator's connections and within a time limit, so that a scrape always gets a response: if the
database fails, with the last numbers, and `dex_database_up` 0.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.plan import Plan
from engine.store.connection import Pool
from engine.store.errors import StoreError, wrap_errors
from engine.store.metrics import MetricValues, fetch_metric_values

log = structlog.get_logger("api")

#: Seconds for which the numbers are not read again, however many clients scrape.
KEPT_SECONDS: Final = 5.0
#: Seconds that the database may take to return them.
_TIMEOUT: Final = 2.0
_UNFINISHED: Final = ("requested", "open", "unknown")


class DatabaseMetrics(Collector):
    """The numbers last read from the database, and the use of the connection pool, as Prometheus metrics."""

    def __init__(self, operator_pool: Pool, pool: Pool, plans: Sequence[Plan], registry: CollectorRegistry) -> None:
        self._operator_pool = operator_pool
        self._pool = pool
        self._specs = [plan.name for plan in plans]
        self._values: MetricValues | None = None
        self._is_up = False
        self._looked_at = -KEPT_SECONDS
        self._lock = asyncio.Lock()
        registry.register(self)

    async def refresh(self) -> None:
        """Read the numbers from the database, unless that was done just now; never raise when the database fails."""
        async with self._lock:
            if time.monotonic() - self._looked_at < KEPT_SECONDS:
                return
            try:
                async with asyncio.timeout(_TIMEOUT), wrap_errors(), self._operator_pool.connection(_TIMEOUT) as lent:
                    self._values = await fetch_metric_values(lent)
                self._is_up = True
            except (StoreError, TimeoutError) as error:
                self._is_up = False
                reason = error.message if isinstance(error, StoreError) else f"no answer within {_TIMEOUT:g} seconds"
                log.warning("metrics of the database not read", reason=reason)
            self._looked_at = time.monotonic()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the metrics are not declared before they are collected."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the present numbers of the pool, and those last read from the database."""
        yield GaugeMetricFamily(
            "dex_database_up", "1 if the numbers below could be read from the database lately.", value=int(self._is_up)
        )
        yield from self._collect_pool()
        if self._values is not None:
            yield from _collect_values(self._values, self._specs)

    def _collect_pool(self) -> Iterable[Metric]:
        stats = self._pool.get_stats()
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        used = GaugeMetricFamily("dex_pool_connections", "Connections to the database by state.", labels=["state"])
        used.add_metric(["used"], size - idle)
        used.add_metric(["idle"], idle)
        yield used
        yield GaugeMetricFamily("dex_pool_max", "Most connections the pool may have.", value=stats.get("pool_max", 0))
        waiting = stats.get("requests_waiting", 0)
        yield GaugeMetricFamily("dex_pool_waiting", "Requests that wait for a connection.", value=waiting)
        errors = stats.get("requests_errors", 0)
        yield CounterMetricFamily("dex_pool_errors", "Requests that got no connection in time.", value=errors)


def _collect_values(latest: MetricValues, specs: Sequence[str]) -> Iterable[Metric]:
    """Return the numbers of every spec of the project, 0 if it has none, and of removed specs that still have some."""
    pending = {spec: waiting.count for spec, waiting in latest.pending.items()}
    seconds = {spec: waiting.oldest_seconds for spec, waiting in latest.pending.items()}
    for name, help_text, values in (
        ("dex_pending_results", "Step results whose rows are not written yet.", pending),
        ("dex_oldest_pending_seconds", "How long the oldest of them has been pending.", seconds),
        ("dex_stale_rows", "Rows that have to be computed again.", latest.stale_rows),
        ("dex_rejected_results", "Step results that gave no row, for a recorded reason.", latest.rejected),
        ("dex_refused_elements", "Elements of step results that gave no row, likewise.", latest.refused),
    ):
        yield _build_gauge(name, help_text, "spec", {**dict.fromkeys(specs, 0), **values})
    counts = {status: waiting.count for status, waiting in latest.orders.items()}
    ages = {status: waiting.oldest_seconds for status, waiting in latest.orders.items()}
    nothing = dict.fromkeys(_UNFINISHED, 0)
    yield _build_gauge("dex_unfinished_orders", "Unfinished orders.", "status", {**nothing, **counts})
    yield _build_gauge("dex_oldest_order_seconds", "The age of the oldest of them.", "status", {**nothing, **ages})
    queued = latest.queued_runs
    yield GaugeMetricFamily("dex_queued_runs", "Runs that wait for a worker.", value=queued.count)
    yield GaugeMetricFamily(
        "dex_oldest_queued_seconds", "How long the oldest of them has been pending.", value=queued.oldest_seconds
    )


def _build_gauge(name: str, help_text: str, label: str, values: dict[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, help_text, labels=[label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge
