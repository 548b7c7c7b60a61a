"""Whatever is killed, whenever: our books are the provider's."""

import pytest

from tests.runner.chaos import Size, run_chaos


def test_a_few_submissions_and_kills() -> None:
    run_chaos(Size(submissions=12, questions=4, runners=2, kills=5, pause=0.5), seed=1)


@pytest.mark.long
def test_a_thousand_submissions_of_a_hundred_questions_two_hundred_kills() -> None:
    run_chaos(Size(submissions=1000, questions=100, runners=16, kills=200, pause=1.5, lease=5), seed=2)
