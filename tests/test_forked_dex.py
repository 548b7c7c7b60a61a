"""Commands as forks are commands: streams, folder, environment, exit status, and signals to who asked for them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT
from tests.forked_dex import find_dex, run_dex_text


def start_dex(*words: str, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [find_dex(), *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_command_ends_as_it_does_in_a_shell(tmp_path: Path) -> None:
    outside = run_dex_text("check", environment={}, folder=tmp_path)
    assert (outside.returncode, outside.stdout) == (1, "") and "`dex init FOLDER` makes a new one" in outside.stderr
    wrong = start_dex("check", "--no-such-option")
    out, errors = wrong.communicate(timeout=60)
    assert (wrong.returncode, out) == (2, "") and errors.startswith("Usage: dex check"), errors


def test_what_is_piped_into_it_is_its_input() -> None:
    command = start_dex("extract", "company_intel_briefings", "-")
    out, errors = command.communicate('{"domain": "acme.example", "parallel_raw_response": {}}', timeout=60)
    assert command.returncode == 0 and "acme.example" in out, errors


@pytest.mark.parametrize(("request_", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_to_the_program_ends_the_command(database: str, request_: signal.Signals, status: int) -> None:
    with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as watcher:
        holder.execute("lock table company_intel_briefings in access exclusive mode")
        command = start_dex("verify", "company_intel_briefings", DATABASE_URL=database)
        waiting = "select from pg_stat_activity where datname = current_database() and wait_event = 'relation'"
        deadline = time.monotonic() + 60
        while not watcher.execute(waiting).fetchall():
            assert time.monotonic() < deadline, "the command never came to the table"
            time.sleep(0.02)
        command.send_signal(request_)
        command.communicate(timeout=60)  # which waits for the end of its output, so for the command as well
        assert command.returncode == status
