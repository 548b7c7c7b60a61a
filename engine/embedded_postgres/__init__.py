"""A Postgres of the project's own, started on first use and stopped when its last user leaves.

In: a data folder. Out: a connection URL for as long as one needs it.
It knows neither psycopg nor what is stored: it starts, finds and stops server processes (POSIX systems only).
"""

from engine.embedded_postgres.binaries import system_binaries
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.server import running

__all__ = ["EmbeddedError", "running", "system_binaries"]
