"""A system Postgres 15 of a test's own, on loopback with passwords, for what the shared server cannot be."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.embedded_postgres import find_system_binaries
from scripts.processes import Process, start_process
from tests.plain_http import find_free_port

#: The user of Debian's packages; root may not run a server.
USER = "postgres"

needs_system_postgres = pytest.mark.skipif(
    os.getuid() != 0 or not find_system_binaries(15) or not shutil.which("runuser"),
    reason="needs root, `runuser` and PostgreSQL 15 programs",
)


@dataclass(frozen=True)
class Server:
    """A running server; `folder` belongs to its user."""

    folder: Path
    port: int
    password: str
    process: Process

    def build_url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"


def run_program(name: str, *arguments: str | Path, password: str = "") -> None:
    """Run a program of Postgres as the server's user."""
    environment = {**os.environ, "PGPASSWORD": password}
    done = subprocess.run(build_command(name, *arguments), env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def build_command(name: str, *arguments: str | Path) -> list[str]:
    binaries = find_system_binaries(15)
    assert binaries is not None
    return ["runuser", "-u", USER, "--", str(binaries / name), *map(str, arguments)]


@contextmanager
def run_system_postgres() -> Iterator[Server]:
    """Run a new server within a `with` block; nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="dex-server-") as name:
        folder = Path(name)
        shutil.chown(folder, USER)
        password = secrets.token_hex(16)
        (folder / "password").write_text(password)
        (folder / "password").chmod(0o644)
        words = ("-U", "postgres", "-A", "scram-sha-256", "--no-sync", f"--pwfile={folder / 'password'}")
        run_program("initdb", "-D", folder / "data", *words)
        with start_server(folder, folder / "data", password) as server:
            yield server


@contextmanager
def start_server(folder: Path, data: Path, password: str) -> Iterator[Server]:
    """Run the server of a data folder within a `with` block."""
    port = find_free_port()
    options = ("-p", str(port), "-k", folder, "-h", "127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB")
    with start_process(build_command("postgres", "-D", data, *options)) as process:
        process.wait_for_line("ready to accept")
        yield Server(folder, port, password, process)
        run_program("pg_ctl", "stop", "-D", data, "-m", "fast")  # who is still connected is disconnected
