"""The API as a process, the way an operator starts it.

In: a database. Out: its port, and the headers that open its doors. It must not know what is asked of it.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.process import dex


@dataclass(frozen=True, slots=True)
class Served:
    """A running API."""

    port: int
    key: str

    def headers(self, org_id: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "x-internal-org-id": org_id}


@contextmanager
def serve(dsn: str) -> Iterator[Served]:
    """Run `dex serve` for the length of a `with` block, its log going to a file."""
    key = secrets.token_urlsafe(32)
    environment = {"DATABASE_URL": dsn, "INTERNAL_API_KEY": key, "JWT_SECRET": secrets.token_urlsafe(32)}
    with tempfile.NamedTemporaryFile() as log:
        command = dex("serve", "--port", "0")
        child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield Served(_port(child, Path(log.name)), key)
        finally:
            child.terminate()
            child.wait()


def _port(child: subprocess.Popen[bytes], log: Path) -> int:
    while child.poll() is None:
        if found := re.search(r"serving on http://[^:]+:(\d+)", log.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"`dex serve` did not start:\n{log.read_text()}")
