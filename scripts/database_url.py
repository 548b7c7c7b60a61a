"""Which database a command works on.

In: the environment and the project. Out: a connection URL, good inside the `with` block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.embedded_postgres.server import running
from engine.project import Project


@contextmanager
def database(project: Project) -> Iterator[str]:
    """Yield `DATABASE_URL`, or the URL of the project's embedded Postgres, which stops when its last user leaves."""
    url = os.environ.get("DATABASE_URL", "").strip()
    if url:
        yield url
        return
    with running(project.data / "postgres") as embedded:
        yield embedded


def named() -> str:
    """How the database is called in sentences: never with its password."""
    return "the database of `DATABASE_URL`" if os.environ.get("DATABASE_URL", "").strip() else "the embedded Postgres"
