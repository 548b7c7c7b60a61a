"""Starting a task at Trigger.dev, over its HTTP API.

In: a run. Out: Trigger.dev's id of it, or why it was not taken. It must not know the database.

The idempotency key is the run's id: asking again after a lost answer starts nothing twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Final

import httpx

from api.settings import Settings

TASK: Final = "run-pipeline"
ATTEMPTS: Final = 4
TIMEOUT: Final = 10.0
PATIENCE: Final = 30.0  # for all runs of one call together: its caller is waiting
AT_ONCE: Final = 8
LONGEST_PAUSE: Final = 10.0
#: Worth asking again; any other refusal will be the same next time.
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What became of one run: `trigger_run_id`, or the `error`."""

    run_id: str
    trigger_run_id: str | None = None
    error: str | None = None


async def start(settings: Settings, runs: list[tuple[str, str, str | None]]) -> list[Dispatch]:
    """Start the task for each run (id, organisation, company), a few at a time. What failed is said, never raised."""
    gate = asyncio.Semaphore(AT_ONCE)
    deadline = time.monotonic() + PATIENCE
    headers = {"authorization": f"Bearer {settings.trigger_secret_key}"}
    async with httpx.AsyncClient(base_url=settings.trigger_api_url, headers=headers, timeout=TIMEOUT) as client:

        async def one(run: tuple[str, str, str | None]) -> Dispatch:
            async with gate:
                return await _start_one(client, deadline, *run)

        return list(await asyncio.gather(*(one(run) for run in runs)))


async def _start_one(
    client: httpx.AsyncClient, deadline: float, run_id: str, org_id: str, company_id: str | None
) -> Dispatch:
    body = {
        "payload": {"pipeline_run_id": run_id, "org_id": org_id, "company_id": company_id},
        "options": {"idempotencyKey": run_id},
    }
    error = "Trigger.dev was not asked: the runs before took too long"
    for attempt in range(ATTEMPTS):
        if time.monotonic() > deadline:
            break
        pause = min(0.25 * 2**attempt, LONGEST_PAUSE) * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
        try:
            response = await client.post(f"/api/v1/tasks/{TASK}/trigger", json=body)
        except httpx.HTTPError as failure:
            error = f"Trigger.dev cannot be reached: {type(failure).__name__}"
        else:
            if response.is_success:
                return _taken(run_id, response)
            error = f"Trigger.dev answered {response.status_code}"
            if response.status_code not in AGAIN:
                break
            pause = _asked_pause(response) or pause
        if attempt + 1 < ATTEMPTS:
            await asyncio.sleep(pause)
    return Dispatch(run_id, error=error)


def _taken(run_id: str, response: httpx.Response) -> Dispatch:
    try:
        words = response.json()
    except ValueError:
        words = None
    trigger_run_id = words.get("id") if isinstance(words, dict) else None
    if not isinstance(trigger_run_id, str) or not trigger_run_id:
        return Dispatch(run_id, error=f"Trigger.dev answered {response.status_code} without a run id")
    return Dispatch(run_id, trigger_run_id=trigger_run_id)


def _asked_pause(response: httpx.Response) -> float | None:
    """Return `Retry-After` in seconds, where it is a number."""
    text = response.headers.get("retry-after", "")
    return min(float(text), LONGEST_PAUSE) if text.isdigit() else None
