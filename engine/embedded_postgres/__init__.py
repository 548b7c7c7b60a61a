"""A Postgres server of the project's own: started on first use, stopped when its last user leaves (POSIX only)."""

from engine.embedded_postgres.binaries import find_system_binaries
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.server import run_server

__all__ = ["EmbeddedError", "find_system_binaries", "run_server"]
