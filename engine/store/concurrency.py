"""Run coroutines that use connections concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_concurrently(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines until all have ended, and return their results; if one raises, cancel the others and raise.

    Each is cancelled only once: a second cancellation would keep psycopg from cancelling the statement on the server.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        if tasks:  # `wait`, since a cancelled `gather` cancels them as well, before the lines below do
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
