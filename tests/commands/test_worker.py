"""`dex worker`, as far as it comes without an API."""

import os
import pty
import subprocess

from scripts.processes import build_dex_command
from tests.conftest import ROOT


def test_made_up_research_goes_to_no_api_elsewhere() -> None:
    environment = {**os.environ, "DATA_ENGINE_API_URL": "https://research.example.com", "COLUMNS": "200"}
    command = build_dex_command("worker", "--recorded")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "made-up research into `https://research.example.com`" in done.stderr


def test_on_a_terminal_its_log_is_text() -> None:
    settings = {
        "DATA_ENGINE_API_URL": "http://127.0.0.1:9",
        "DATA_ENGINE_INTERNAL_API_KEY": "k" * 32,
        "PARALLEL_API_KEY": "p" * 32,
    }
    terminal, stream = pty.openpty()
    command = build_dex_command("worker", "--until-idle")
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, stderr=stream, timeout=60, check=False)
    os.close(stream)
    first, *_, last = os.read(terminal, 100_000).decode().splitlines()
    os.close(terminal)
    assert done.returncode == 1
    assert first.endswith("Waiting for runs (api http://127.0.0.1:9, concurrency 4)")
    assert " error: POST /api/internal/pipeline-runs/claim failed: " in last
