"""Run async store functions from synchronous code: on one event loop in a thread of its own, with a few connections.

`DATABASE_URL` names the database; without it, the project's embedded Postgres is started. The first call starts the
loop. Any thread may call, and a forked child starts a loop of its own.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread
from typing import Final, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from engine.embedded_postgres import run_server
from engine.project import Project
from engine.store.connection import Connection, Pool, build_pool, connect
from engine.store.errors import wrap_errors

T = TypeVar("T")

_POOL_SIZE: Final = 4


class _EventLoop:
    """The one event loop of the process, and its connection pools by URL."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.stack = ExitStack()
        self.portal: BlockingPortal | None = None
        self.urls: dict[Path, str] = {}  # data folder -> URL of its embedded server, which runs until `close`
        self.pools: dict[str, Pool] = {}

    def open_pool(self, project: Project) -> tuple[BlockingPortal, Pool]:
        """Return the loop's portal and the connection pool for the database of `project`; start them if needed."""
        with self.lock:
            if self.portal is None:
                self.portal = _start_thread()
            url = os.environ.get("DATABASE_URL", "").strip() or self._start_embedded(project.data / "postgres")
            if url not in self.pools:
                self.pools[url] = self.portal.call(_open_pool, url)
            return self.portal, self.pools[url]

    def _start_embedded(self, folder: Path) -> str:
        if folder not in self.urls:
            self.urls[folder] = self.stack.enter_context(run_server(folder))
        return self.urls[folder]

    def close(self) -> None:
        with self.lock:
            if self.portal is not None:
                for pool in self.pools.values():
                    self.portal.call(pool.close)
                self.portal.call(self.portal.stop)
            self.portal = None
            self.pools.clear()
            self.urls.clear()
            self.stack.close()


def _start_thread() -> BlockingPortal:
    """Start the event loop's thread and return the portal that other threads call it through.

    anyio's `start_blocking_portal` is not used: a child forked later would hang on closing that context, since the
    thread does not exist in the child.
    """
    ready: Future[BlockingPortal] = Future()
    Thread(target=anyio.run, args=(_serve_portal, ready), name="dex-call", daemon=True).start()
    return ready.result()


async def _serve_portal(ready: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()


async def _open_pool(url: str) -> Pool:
    """Open a pool, but make one connection first, so that a wrong URL fails at once and not by the pool's timeout."""
    await (await connect(url)).close()
    pool = build_pool(url, _POOL_SIZE)
    await pool.open()
    return pool


_event_loop = _EventLoop()


def close() -> None:
    """Close the connections, and stop the embedded server if this process started it.

    The next call opens them again.
    """
    _event_loop.close()


def _reset_after_fork() -> None:
    """Forget the parent's loop and connections in a forked child, in which the thread of the loop does not exist."""
    global _event_loop
    _event_loop = _EventLoop()


atexit.register(close)
os.register_at_fork(after_in_child=_reset_after_fork)


def call_with_connection(project: Project, function: Callable[[Connection], Awaitable[T]]) -> T:
    """Call `function` with a connection to the database of `project`; wait for its result."""
    portal, pool = _event_loop.open_pool(project)
    return portal.call(_call_on_loop, pool, function)


async def _call_on_loop(pool: Pool, function: Callable[[Connection], Awaitable[T]]) -> T:
    async with wrap_errors(), pool.connection() as connection:
        return await function(connection)
