"""Check whether the database fits the API: what affects all endpoints, and what affects those of one spec.

The check uses connections of its own, so that it works while the pool for requests is exhausted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from api.http.errors import build_misfit_fault
from api.http.metrics import Metrics
from engine.plan import Plan
from engine.store.connection import Connection, Pool
from engine.store.errors import LOCK_NOT_AVAILABLE, StoreError, StoreRefused, StoreUnavailable, wrap_errors
from engine.store.identity import fetch_read_only
from engine.tables import inspect, migrate
from engine.tables.differences import Difference, report_pending_migration

log = structlog.get_logger("api")

#: Seconds that all queries of one readiness check may take together.
_TIMEOUT = 4.0
#: Seconds that the catalog queries about one table may take: some of Postgres's functions wait for locks on the table.
_TABLE_TIMEOUT = 1.0
#: Requests to a spec that did not fit its table check it again at most once in so many seconds.
_CHECK_INTERVAL = 1.0
#: Seconds for which a full disk is reported after a write failed because of it.
_FULL_DISK_SECONDS = 60.0

_UNAVAILABLE = {"code": "database_unavailable", "message": "the database does not answer", "sql": ""}
_READ_ONLY = {
    "code": "database_read_only",
    "message": "the database takes no writes: queries are answered, upserts, submissions and runners are not",
    "sql": "",
}
_FULL_DISK = {
    "code": "database_full",
    "message": "the database had no room on its disk for a write within the last minute",
    "sql": "",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check: `reasons` why nothing works, and `problems` that affect only a part, such as one spec."""

    reasons: Sequence[dict[str, str]]
    problems: Sequence[dict[str, str]]
    misfits: Mapping[str, Sequence[dict[str, str]]]  # by name of a spec: the differences to its table

    def as_dict(self, plans: Sequence[Plan]) -> dict[str, Any]:
        """Return the `data` of `/readyz` for a report without `reasons`; `plans` are all specs of the API.

        It lists the problems and each spec's state only if there are problems.
        """
        if not self.problems:
            return {"status": "ready"}
        specs = {plan.name: "not_ready" if plan.name in self.misfits else "ready" for plan in plans}
        return {"status": "ready", "specs": specs, "problems": list(self.problems)}


class Readiness:
    """Checks the database, and keeps the result of the last check."""

    def __init__(self, pool: Pool, plans: Sequence[Plan], migrations: Path, metrics: Metrics) -> None:
        self.pool = pool
        self._metrics = metrics
        self._checking = asyncio.Lock()
        self._begun = 0  # the number of the check that began last
        self._ended = 0  # the number of the one that `_last` comes from
        self._last: Report | None = None
        self._plans = {plan.name: plan for plan in plans}
        self._migrations = migrations
        self._misfits: dict[str, Sequence[dict[str, str]]] = {}
        self._checked_at: dict[str, float] = {}
        self._full_at = -_FULL_DISK_SECONDS

    async def check_everything(self) -> Report:
        """Check everything, store the result and set the metrics.

        Whoever asks while a check runs waits for the next one, which all who wait share: however many ask, one check
        runs at a time.
        """
        wanted = self._begun + 1
        async with self._checking:
            if self._last is None or self._ended < wanted:
                number = self._begun = self._begun + 1
                report = await self._build_report()
                self._last, self._ended = report, number
                self._metrics.set_ready(not report.reasons and not report.problems)
                if _UNAVAILABLE not in report.reasons:
                    self._misfits = dict(report.misfits)
                    # The next request to a spec that does not fit checks it again: its table may be repaired by then.
                    self._checked_at = {}
            return self._last

    async def _build_report(self) -> Report:
        try:
            async with asyncio.timeout(_TIMEOUT), wrap_errors(), self.pool.connection(timeout=_TIMEOUT) as connection:
                pending = await migrate.list_pending(connection, self._migrations)
                differences = await self._find_differences(connection, self._plans.values())
                is_read_only = await fetch_read_only(connection)
        except (StoreError, TimeoutError) as error:
            reason = error.message if isinstance(error, StoreError) else f"no answer within {_TIMEOUT:g} seconds"
            log.error("database unavailable", reason=reason)
            return Report([_UNAVAILABLE], [], {})
        all_entries = [difference.as_dict() for difference in differences]
        misfits = {name: [entry for entry in all_entries if entry.get("spec") == name] for name in self._plans}
        misfits = {name: entries for name, entries in misfits.items() if entries}
        reasons = [report_pending_migration(reason).as_dict() for reason in pending]
        reasons += [entry for entry in all_entries if not entry.get("spec")]
        if self._plans and len(misfits) == len(self._plans):
            return Report([*reasons, *all_entries], [], misfits)
        problems = [entry for entry in all_entries if entry.get("spec")]
        problems += [_READ_ONLY] if is_read_only else []
        problems += [_FULL_DISK] if time.monotonic() - self._full_at < _FULL_DISK_SECONDS else []
        return Report(reasons, problems, misfits)

    async def require_fit(self, spec: str) -> None:
        """Raise Fault 503 while the table does not fit `spec`; a repaired table is noticed within a second.

        Makes no query for a spec that fitted at the last check, or that was not checked yet.
        """
        if spec not in self._misfits:
            return
        if time.monotonic() - self._checked_at.get(spec, 0.0) >= _CHECK_INTERVAL:
            await self._check_spec(spec)
        if spec in self._misfits:
            raise build_misfit_fault()

    def record_full_disk(self) -> None:
        """Record that a write failed just now because the disk is full."""
        self._full_at = time.monotonic()

    async def _check_spec(self, spec: str) -> None:
        self._checked_at[spec] = time.monotonic()
        try:
            async with asyncio.timeout(_TIMEOUT), wrap_errors(), self.pool.connection(timeout=_TIMEOUT) as connection:
                differences = await self._find_differences(connection, [self._plans[spec]])
        except (StoreUnavailable, TimeoutError):
            return
        if not differences:
            self._misfits.pop(spec, None)

    async def _find_differences(self, connection: Connection, plans: Iterable[Plan]) -> list[Difference]:
        """Return the differences between each plan and its table; a locked table counts as fitting."""
        differences: list[Difference] = []
        for plan in plans:
            try:
                async with asyncio.timeout(_TABLE_TIMEOUT):
                    differences += await inspect.find_differences(connection, [plan])
            except TimeoutError:
                log.warning("table not looked at", spec=plan.name, reason="it is locked or slow")
            except StoreRefused as error:
                if error.sqlstate != LOCK_NOT_AVAILABLE:
                    raise
                log.warning("table not looked at", spec=plan.name, reason=error.message)
        return differences
