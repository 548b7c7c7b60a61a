"""The statuses that the SQL files spell are those of the enums."""

import re

from engine.orders.statuses import OrderStatus
from engine.runs.runs import RUN_QUERIES, SUBMISSION_QUERIES
from engine.runs.statuses import Runner, RunStatus, StepStatus, SubmissionStatus


def test_a_submission_gets_no_status_but_those_listed() -> None:
    derived = re.findall(r"(?:then|else) '(\w+)'", SUBMISSION_QUERIES["sync_submission_status"])
    assert set(derived) == set(SubmissionStatus)


def test_every_status_and_runner_in_the_queries_is_listed() -> None:
    listed = {*RunStatus, *StepStatus, *SubmissionStatus, *Runner, *OrderStatus}
    for name, query in {**RUN_QUERIES, **SUBMISSION_QUERIES}.items():
        compared = re.findall(r"(?:status|runner) (?:=|<>) '(\w+)'", query)
        assert set(compared) <= listed, name
