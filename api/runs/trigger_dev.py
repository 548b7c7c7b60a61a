"""Start and cancel tasks at Trigger.dev over its HTTP API.

The idempotency key of a task consists of the run's id and its number of restarts, so that a repeated request starts
nothing twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import httpx

from api.settings import Settings

TASK: Final = "run-pipeline"
MAX_ATTEMPTS: Final = 4
REQUEST_TIMEOUT: Final = 10.0  # seconds
TOTAL_TIMEOUT: Final = 30.0  # seconds for all runs of one call, while the API's client waits
MAX_CONCURRENT: Final = 8
#: The most characters of a run id that are stored; those of Trigger.dev have about thirty.
MAX_RUN_ID_LENGTH: Final = 500
MAX_PAUSE: Final = 10.0  # seconds between two attempts
#: HTTP statuses after which a request is retried; after others it would fail again.
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The result of dispatching one run: Trigger.dev's run id, or the error."""

    run_id: str
    trigger_run_id: str | None = None
    error: str | None = None


async def start_runs(settings: Settings, runs: list[tuple[str, str, str | None, int]]) -> list[Dispatch]:
    """Start a task for each run (id, organisation, company, restarts), a few at a time; errors are in the results."""
    semaphore = asyncio.Semaphore(MAX_CONCURRENT)
    deadline = time.monotonic() + TOTAL_TIMEOUT
    headers = {"authorization": f"Bearer {settings.trigger_secret_key}"}
    async with httpx.AsyncClient(base_url=settings.trigger_api_url, headers=headers, timeout=REQUEST_TIMEOUT) as client:

        async def start_run(run: tuple[str, str, str | None, int]) -> Dispatch:
            async with semaphore:
                return await _start_run(client, deadline, *run)

        return list(await asyncio.gather(*(start_run(run) for run in runs)))


async def cancel_runs(settings: Settings, trigger_run_ids: list[str]) -> int:
    """Cancel runs at Trigger.dev, a few at a time; return for how many the request failed.

    Even such a run places no more orders, since the API refuses its next request.
    """
    semaphore = asyncio.Semaphore(MAX_CONCURRENT)
    headers = {"authorization": f"Bearer {settings.trigger_secret_key}"}
    async with httpx.AsyncClient(base_url=settings.trigger_api_url, headers=headers, timeout=REQUEST_TIMEOUT) as client:

        async def cancel_run(trigger_run_id: str) -> bool:
            async with semaphore:
                try:
                    return (await client.post(f"/api/v2/runs/{quote(trigger_run_id, safe='')}/cancel")).is_success
                except httpx.HTTPError:
                    return False

        return (await asyncio.gather(*map(cancel_run, trigger_run_ids))).count(False)


async def _start_run(
    client: httpx.AsyncClient, deadline: float, run_id: str, org_id: str, company_id: str | None, restarts: int
) -> Dispatch:
    body = {
        "payload": {"pipeline_run_id": run_id, "org_id": org_id, "company_id": company_id},
        # For a key that was used before, Trigger.dev returns the earlier task, so a restarted run needs a new key.
        "options": {"idempotencyKey": run_id if restarts == 0 else f"{run_id}:{restarts}"},
    }
    error = "Trigger.dev was not asked: the runs before took too long"
    for attempt in range(MAX_ATTEMPTS):
        if time.monotonic() > deadline:
            break
        pause = min(0.25 * 2**attempt, MAX_PAUSE) * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
        try:
            response = await client.post(f"/api/v1/tasks/{TASK}/trigger", json=body)
        except httpx.HTTPError as failure:
            error = f"Trigger.dev cannot be reached: {type(failure).__name__}"
        else:
            if response.is_success:
                return _read_dispatch(run_id, response)
            error = f"Trigger.dev answered {response.status_code}"
            if response.status_code not in RETRIED:
                break
            pause = _read_retry_after(response) or pause
        if attempt + 1 < MAX_ATTEMPTS:
            await asyncio.sleep(pause)
    return Dispatch(run_id, error=error)


def _read_dispatch(run_id: str, response: httpx.Response) -> Dispatch:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    trigger_run_id = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(trigger_run_id, str) or not trigger_run_id:
        return Dispatch(run_id, error=f"Trigger.dev answered {response.status_code} without a run id")
    if len(trigger_run_id) > MAX_RUN_ID_LENGTH:
        length = f"{len(trigger_run_id)} characters, more than {MAX_RUN_ID_LENGTH}"
        return Dispatch(run_id, error=f"Trigger.dev answered {response.status_code} with a run id of {length}")
    return Dispatch(run_id, trigger_run_id=trigger_run_id)


def _read_retry_after(response: httpx.Response) -> float | None:
    """Return the `Retry-After` header in seconds; None if it is not a number."""
    text = response.headers.get("retry-after", "")
    return min(float(text), MAX_PAUSE) if text.isdigit() else None
