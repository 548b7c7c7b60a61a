"""A Postgres of the project's own, started on first use and stopped when its last user leaves.

In: a data folder. Out: a connection URL for as long as one needs it.
It knows neither psycopg nor what is stored: it starts, finds and stops server processes (POSIX systems only).
"""

from engine.embedded.binaries import system_binaries
from engine.embedded.fault import EmbeddedError
from engine.embedded.server import running

__all__ = ["EmbeddedError", "running", "system_binaries"]
