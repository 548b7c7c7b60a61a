"""Choose the database of a command: `DATABASE_URL`, or else the project's embedded Postgres."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from engine.embedded_postgres.server import run_server
from engine.project import Project, find_project
from scripts.env_file import find_origin

if TYPE_CHECKING:
    from engine.store.connection import Connection

T = TypeVar("T")


@contextmanager
def open_database(project: Project) -> Iterator[str]:
    """Yield `DATABASE_URL`, or the URL of the project's embedded Postgres.

    The embedded Postgres stops once no process uses it. Raises BadParameter when the variable is set but empty, which
    is what a shell makes of an undefined variable.
    """
    url = os.environ.get("DATABASE_URL")
    if url is not None:
        if not url.strip():
            raise typer.BadParameter("`DATABASE_URL` is empty; unset it to use the project's embedded Postgres")
        yield url.strip()
        return
    with run_server(project.data / "postgres") as embedded:
        yield embedded


def has_database(project: Project) -> bool:
    """Return whether `open_database` would open what is there, instead of making an embedded Postgres."""
    return "DATABASE_URL" in os.environ or (project.data / "postgres").exists()


def run_in_database(work: Callable[[Connection], Awaitable[T]], org_id: str | None = None) -> T:
    """Run `work` with one connection to the database that `open_database` gives; return its result.

    Raises UnknownOrganisation when `org_id` names none, so that a mistyped id is no empty result.
    """
    from engine.store.connection import connect  # psycopg is imported late, so that other commands start fast
    from engine.store.identity import check_organisation

    async def connect_and_work(dsn: str) -> T:
        async with await connect(dsn) as connection:
            if org_id is not None:
                await check_organisation(connection, org_id)
            return await work(connection)

    with open_database(find_project()) as dsn:
        return asyncio.run(connect_and_work(dsn))


def require_organisation(dsn: str, org_id: str | None) -> None:
    """Raise UnknownOrganisation if no organisation has this id; None is no organisation in particular."""
    from engine.store.connection import connect
    from engine.store.identity import check_organisation

    async def connect_and_check(checked: str) -> None:
        async with await connect(dsn) as connection:
            await check_organisation(connection, checked)

    if org_id is not None:
        asyncio.run(connect_and_check(org_id))


def describe_database() -> str:
    """Return words for the database, for messages; not its URL, which may contain a password."""
    if "DATABASE_URL" not in os.environ:
        return "the embedded Postgres"
    file = find_origin("DATABASE_URL")
    return "the database of `DATABASE_URL`" + (f" in {file}" if file else "")
