"""Start the API as a separate process, by `dex serve`, as an operator does."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.process import build_installed_command, read_cpu_seconds, read_peak
from scripts.processes import start_process


@dataclass(frozen=True, slots=True)
class RunningApi:
    """A running API: its process, its port and its internal key."""

    port: int
    key: str
    pid: int

    def build_headers(self, org_id: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "x-internal-org-id": org_id}

    def read_peak(self) -> float:
        """Return the peak memory of the process so far, in MB."""
        return read_peak(self.pid)

    def read_cpu_seconds(self) -> float:
        """Return the processor time of the process so far, in seconds."""
        return read_cpu_seconds(self.pid)


@contextmanager
def start_api(dsn: str, cwd: Path | None = None, program: Sequence[str] = ()) -> Iterator[RunningApi]:
    """Run `dex serve` during a `with` block, with its log in a file; `cwd` is the project's folder.

    `program` is run instead of `dex`, with the same arguments.
    """
    key = secrets.token_urlsafe(32)
    environment = {"DATABASE_URL": dsn, "INTERNAL_API_KEY": key, "JWT_SECRET": secrets.token_urlsafe(32)}
    arguments = ("serve", "--port", "0")
    command = [*program, *arguments] if program else build_installed_command(*arguments)
    with start_process(command, environment, cwd=cwd) as process:
        port = int(process.wait_for_line("serving on ").rsplit(":", 1)[-1])
        yield RunningApi(port, key, process.popen.pid)
