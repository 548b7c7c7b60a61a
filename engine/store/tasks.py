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
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
