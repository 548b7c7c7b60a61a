"""A share of the soak in every run, ten minutes of it in the long one."""

import pytest

from tests.runner.soak import run_soak


def check_soak(seconds: float, pause: float, longest_wait: float = float("inf")) -> None:
    soak = run_soak(seconds, pause)
    report = soak.report()
    print(report)
    assert soak.faults == [], report
    assert soak.counts["killed"] and soak.counts["exported"] and soak.counts["backfill 0"], report
    assert soak.health and max(soak.health) < longest_wait, report
    assert soak.memory_growth < 1.25, report


def test_everything_at_once_loses_doubles_and_stales_nothing(pytestconfig: pytest.Config) -> None:
    # Other tests share the machine: everybody rests longer here, and only the long run asks for half a second.
    check_soak(pytestconfig.getoption("--soak-seconds"), pause=6)


@pytest.mark.long
def test_everything_at_once_for_ten_minutes() -> None:
    check_soak(600, pause=0.6, longest_wait=0.5)
