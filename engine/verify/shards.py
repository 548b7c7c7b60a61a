"""Verify the organisations of one shard, some at a time, each time in a snapshot of its own."""

from __future__ import annotations

from typing import Final

from engine.backfill.shards import fetch_organisations
from engine.plan import Plan
from engine.rows.shards import Shard
from engine.verify.repair import repair_spec
from engine.verify.report import Verification, merge_verifications
from engine.verify.run import Progress, report_nothing, verify_spec

#: Organisations per snapshot: few, since a snapshot lasts as long as comparing them takes.
_ORGANISATIONS: Final = 50


async def verify_shard(
    dsn: str, plan: Plan, shard: Shard, *, repair: bool = False, progress: Progress = report_nothing
) -> Verification:
    """Verify the organisations of a shard; with `repair`, compute mismatching rows again. Raises as `verify_spec`."""
    own = await fetch_organisations(dsn, shard)
    verify = repair_spec if repair else verify_spec
    starts = range(0, len(own), _ORGANISATIONS)
    parts = [await verify(dsn, plan, own[start : start + _ORGANISATIONS], progress=progress) for start in starts]
    return merge_verifications(plan.name, parts)
