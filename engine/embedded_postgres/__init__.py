"""A Postgres server of the project's own: started by its first user, stopped after its last one (POSIX only)."""

from engine.embedded_postgres.binaries import find_system_binaries
from engine.embedded_postgres.errors import EmbeddedError
from engine.embedded_postgres.server import run_server

__all__ = ["EmbeddedError", "find_system_binaries", "run_server"]
