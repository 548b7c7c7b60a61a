"""Compute and store again the rows that are queued in `stale_rows`: a step result was corrected, moved or deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from engine.backfill.apply import BatchFold
from engine.plan import Plan
from engine.rows.units import Unit
from engine.sql import lineage
from engine.store.connection import Connection, fetch_rows

#: Entries of `stale_rows` per transaction: few, since each may need the documents of several step results.
_STALE_SIZE: Final = 200
_LEAST_UUID: Final = "00000000-0000-0000-0000-000000000000"


async def count_stale(connection: Connection, plan: Plan, org_ids: Sequence[str]) -> dict[str, int]:
    """Return, by organisation, how many rows wait to be computed again; no `org_ids` means all organisations."""
    parameters = {"specs": [plan.name], "orgs": list(org_ids)}
    rows = await fetch_rows(connection, lineage.COUNT_STALE_SQL, parameters)
    return {org_id: count for _, org_id, count in rows}


async def fold_stale_rows(connection: Connection, fold: BatchFold, org_ids: Sequence[str], *, dry_run: bool) -> None:
    """Compute and store again the queued rows of organisations; no `org_ids` means all.

    The commits do not wait for the disk: the caller executes FLUSH_COMMITS_SQL afterwards.
    """
    async for units in _stream_stale_units(connection, fold.plan, org_ids):
        await fold.fold_with_retry(connection, (), units, again=False, dry_run=dry_run, is_flushed=False)


async def _stream_stale_units(connection: Connection, plan: Plan, org_ids: Sequence[str]) -> AsyncIterator[list[Unit]]:
    """Yield the queued units (rows that are computed together), in parts, by organisation and id."""
    after = (_LEAST_UUID, _LEAST_UUID)
    while True:
        parameters = {"spec": plan.name, "orgs": list(org_ids), "after_org": after[0], "after_unit": after[1]}
        rows = await fetch_rows(connection, lineage.SELECT_STALE_SQL, {**parameters, "limit": _STALE_SIZE})
        units = [Unit(*row) for row in rows]
        if not units:
            return
        yield units
        after = (units[-1].org_id, units[-1].id)
