"""Progress off a terminal: a line now and then, with the rate since the line before."""

import time

import pytest

from engine.rows.accounts import Account
from scripts.terminal import PlainProgress


def test_lines_come_by_time_with_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PlainProgress(seconds=0.05)
    account = Account("quotes", found=1000)
    for _ in range(200):
        account.outcomes["written"] += 1
        progress.show_account(account)
    assert capsys.readouterr().err == "", "many batches in a moment are no lines"
    time.sleep(0.06)  # what is measured is the time itself
    progress.show_account(account)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("quotes: 200 of 1000 done, ") and line.endswith("/s")
