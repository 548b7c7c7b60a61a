"""Choose the database of a command: `DATABASE_URL`, or else the project's embedded Postgres."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from engine.embedded_postgres.server import run_server
from engine.project import Project
from scripts.env_file import find_origin


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


def describe_database() -> str:
    """Return words for the database, for messages; not its URL, which may contain a password."""
    if "DATABASE_URL" not in os.environ:
        return "the embedded Postgres"
    file = find_origin("DATABASE_URL")
    return "the database of `DATABASE_URL`" + (f" in {file}" if file else "")
