"""`dex worker`, as far as it comes without an API."""

import os
import subprocess

from scripts.processes import build_dex_command
from tests.conftest import ROOT


def test_made_up_research_goes_to_no_api_elsewhere() -> None:
    environment = {**os.environ, "DATA_ENGINE_API_URL": "https://research.example.com", "COLUMNS": "200"}
    command = build_dex_command("worker", "--recorded")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "made-up research into `https://research.example.com`" in done.stderr
