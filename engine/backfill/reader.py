"""Read stored step results and extract their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import replace
from typing import Final

from engine.rows.fetch_plan import FetchPlan
from engine.rows.fold import UnitFold
from engine.rows.steps import Step, build_step
from engine.rows.stored_result import StepResultRow, extract_stored_result
from engine.rows.units import Unit
from engine.sql import step_results
from engine.sql.step_results import Scope
from engine.store.connection import Connection, fetch_rows

#: Step results per fetch: extracting them takes about two milliseconds, in which no writer can send a statement.
FETCH_SIZE: Final = 40
#: Step results of the first fetch, when their size is not known yet.
FIRST_SIZE: Final = 10
#: Step results of one fetch by id, at most.
_MOST_STEPS: Final = 500
#: Bytes per fetch, estimated from the last fetch: large documents are fetched one by one.
_FETCH_BYTES: Final = 2_000_000


async def fetch_steps(connection: Connection, fetch_plan: FetchPlan, ids: Sequence[str]) -> list[Step]:
    """Return those of the step results `ids` that are `found`, with their rows extracted."""
    return [extract_step(fetch_plan, row) for row in await fetch_results(connection, fetch_plan, ids)]


async def fetch_results(connection: Connection, fetch_plan: FetchPlan, ids: Sequence[str]) -> list[StepResultRow]:
    """Return those of the step results `ids` that are `found`, as they are stored."""
    if not ids:
        return []
    statement = step_results.build_step_results_statement(fetch_plan, Scope(step_ids=ids, all=True))
    return await fetch_rows(connection, *statement)


def choose_fetch_size(count: int, size: int, most: int) -> int:
    """Return how many step results to fetch next, so that they have about 2 MB: at least one, at most `most`.

    Their size is estimated from the last fetch: `count` step results with `size` bytes in all.
    """
    return max(1, min(most, _FETCH_BYTES * max(count, 1) // max(size, 1)))


def measure_rows(rows: Sequence[StepResultRow]) -> int:
    """Return the size of the JSON documents of fetched step results in bytes."""
    return sum(len(row[8] or "") for row in rows)


async def read_missing_steps(connection: Connection, fetch_plan: FetchPlan, folds: Sequence[UnitFold]) -> None:
    """Read the step results from which the rows of `folds` are computed, newest first, until no more are needed.

    A newer step result may make older ones unnecessary, so the first round reads one per fold, and each further round
    twice as many as the last. A few megabytes of documents are in memory at a time, and the extracted rows.
    """
    limit, steps, units = 1, dict[str, Step](), {fold.unit for fold in folds}
    while True:
        missing = [(fold, contributor) for fold in folds for contributor in fold.list_missing(limit)]
        if not missing:
            return
        unread = {contributor.step_id for _, contributor in missing} - steps.keys()
        async for step in stream_steps(connection, fetch_plan, sorted(unread)):
            steps[step.id] = _keep_rows(step, units)
        for fold, contributor in missing:
            fold.attach_step(contributor, steps.get(contributor.step_id))
        limit *= 2


async def stream_steps(connection: Connection, fetch_plan: FetchPlan, ids: Sequence[str]) -> AsyncIterator[Step]:
    """Yield those of the step results `ids` that are `found`, extracted, a few documents at a time.

    They come in the order of (recorded_at, id) if `ids` has that order.
    """
    size, place = FIRST_SIZE, 0
    while place < len(ids):
        steps = await fetch_steps(connection, fetch_plan, ids[place : place + size])
        place += size
        for step in steps:
            yield step
        read = sum(step.size for step in steps)
        size = min(choose_fetch_size(len(steps), read, _MOST_STEPS), size * 2)


def _keep_rows(step: Step, units: Set[Unit]) -> Step:
    """Return a copy of a step result with only the rows of `units`; others become empty, so that indices stay valid."""
    known = {unit: rows for unit, rows in step.units.items() if unit in units}
    kept = {number for rows in known.values() for number in rows}
    rows = tuple(row if number in kept else {} for number, row in enumerate(step.extraction.rows))
    return replace(step, units=known, extraction=replace(step.extraction, rows=rows))


def extract_step(fetch_plan: FetchPlan, row: StepResultRow) -> Step:
    """Extract the rows of one stored step result (the columns of `build_step_results_statement`); never raise."""
    step_id, org_id, submission_id, run_id, _, _, recorded_at, version, parts, *_ = row
    return build_step(
        fetch_plan.plan,
        extract_stored_result(fetch_plan, row),
        org_id=org_id,
        size=len(parts or ""),
        id=step_id,
        submission_id=submission_id,
        pipeline_run_id=run_id,
        recorded_at=recorded_at,
        version=version,
    )
