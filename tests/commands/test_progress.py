"""Progress off a terminal: a line now and then, with the rate since the line before."""

from types import SimpleNamespace

import pytest

from engine.rows.accounts import Account
from scripts import terminal


def test_lines_come_by_time_with_the_rate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test's own: a busy machine may stand still between two of the batches."""
    moments = iter([*(number / 1000 for number in range(200)), 5.0])
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    progress = terminal.PlainProgress()
    account = Account("quotes", found=1000)
    for _ in range(200):
        account.outcomes["written"] += 1
        progress.show_account(account)
    assert capsys.readouterr().err == "", "many batches in a moment are no lines"
    progress.show_account(account)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "quotes: 200 of 1000 done, 40/s"
