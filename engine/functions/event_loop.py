"""Plain calls into async code: one event loop in a thread of its own, and a few connections on it.

In: a project and a coroutine function that wants a connection. Out: its answer, in the caller's thread. It must not
know what is asked of the database.

`DATABASE_URL` decides which database it is; without it, the project's embedded Postgres. The first call starts the
loop; any thread may call, and a forked child starts a loop of its own.
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

from engine.embedded_postgres import running
from engine.project import Project
from engine.store.connection import Connection, Pool, connect, pool
from engine.store.errors import wrap

T = TypeVar("T")

_CONNECTIONS: Final = 4


class _Doors:
    """The one event loop of the process and the pools on it, by URL."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.stack = ExitStack()
        self.portal: BlockingPortal | None = None
        self.urls: dict[Path, str] = {}  # of embedded servers, which live as long as we do
        self.pools: dict[str, Pool] = {}

    def open(self, where: Project) -> tuple[BlockingPortal, Pool]:
        with self.lock:
            if self.portal is None:
                self.portal = _start()
            url = os.environ.get("DATABASE_URL", "").strip() or self._embedded(where.data / "postgres")
            if url not in self.pools:
                self.pools[url] = self.portal.call(_opened, url)
            return self.portal, self.pools[url]

    def _embedded(self, folder: Path) -> str:
        if folder not in self.urls:
            self.urls[folder] = self.stack.enter_context(running(folder))
        return self.urls[folder]

    def close(self) -> None:
        with self.lock:
            if self.portal is not None:
                for one in self.pools.values():
                    self.portal.call(one.close)
                self.portal.call(self.portal.stop)
            self.portal = None
            self.pools.clear()
            self.urls.clear()
            self.stack.close()


def _start() -> BlockingPortal:
    """Start the event loop's thread.

    Not by anyio's `start_blocking_portal`: a child forked later would hang closing that context, for want of a thread.
    """
    ready: Future[BlockingPortal] = Future()
    Thread(target=anyio.run, args=(_serve, ready), name="dex-call", daemon=True).start()
    return ready.result()


async def _serve(ready: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()


async def _opened(url: str) -> Pool:
    """A pool, once the database has answered: a wrong URL is heard of at once and not after a pool's patience."""
    await (await connect(url)).close()
    made = pool(url, _CONNECTIONS)
    await made.open()
    return made


_doors = _Doors()


def close() -> None:
    """Close the connections, and let go of an embedded server. The next call opens them anew."""
    _doors.close()


def _forget() -> None:
    """In a forked child the event loop's thread is gone: start afresh, and leave the parent's connections alone."""
    global _doors
    _doors = _Doors()


atexit.register(close)
os.register_at_fork(after_in_child=_forget)


def run(where: Project, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do `work` with a connection to the database of `where`, and wait for its answer. Raises StoreUnavailable."""
    portal, connections = _doors.open(where)
    return portal.call(_with_connection, connections, work)


async def _with_connection(connections: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with wrap(), connections.connection() as connection:
        return await work(connection)
