"""Choose the database of a command: that of `DATABASE_URL`, else the project's embedded Postgres."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.embedded_postgres.server import run_server
from engine.project import Project
from scripts.env_file import find_origin


@contextmanager
def open_database(project: Project) -> Iterator[str]:
    """Yield `DATABASE_URL`, or the URL of the project's embedded Postgres.

    The embedded Postgres stops when no process uses it any more.
    """
    url = os.environ.get("DATABASE_URL", "").strip()
    if url:
        yield url
        return
    with run_server(project.data / "postgres") as embedded:
        yield embedded


def describe_database() -> str:
    """Return a name of the database for messages, without its URL, which may contain a password."""
    if not os.environ.get("DATABASE_URL", "").strip():
        return "the embedded Postgres"
    file = find_origin("DATABASE_URL")
    return "the database of `DATABASE_URL`" + (f" in {file}" if file else "")
