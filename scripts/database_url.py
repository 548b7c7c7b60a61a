"""Choose the database of a command: that of `DATABASE_URL`, else the project's embedded Postgres."""

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

    That one stops when no process uses it any more. Raises BadParameter where the variable is set and empty: a shell
    makes that of a variable that is not defined.
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
    """Return a name of the database for messages, without its URL, which may contain a password."""
    if "DATABASE_URL" not in os.environ:
        return "the embedded Postgres"
    file = find_origin("DATABASE_URL")
    return "the database of `DATABASE_URL`" + (f" in {file}" if file else "")
