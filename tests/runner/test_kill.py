"""Kill -9 at every request a runner makes, when it is done and its answer not yet seen: nothing is bought twice.

To everybody else that is the same as being killed just before the next request, so every boundary is met. A run of the
tests kills at a quarter of the requests (`take_share`), `make test-long` at all of them.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from scripts.processes import Process
from tests.conftest import take_share
from tests.runner.conftest import ICP, PERSON, SECONDS, Services, World, create_world
from tests.runner.proxy import Cut, Exchange, start_proxy

CONTEXT = {
    "company_name": "Northwind Robotics",
    "domain": "northwind-robotics.example.com",
    "client_company_name": "Harbor Assurance",
    "client_company_description": "Insures machines against standing still.",
    "full_name": "Mara Lindqvist",
    "current_company_name": "Northwind Robotics",
}
AT_ONCE = 4
MOST_REQUESTS = 60


@dataclass
class Killer:
    """Kills its victim when the n-th request has been answered, and keeps the answer."""

    at: int
    victim: Process | None = None
    seen: list[str] = field(default_factory=list)
    struck: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        if exchange.path.endswith("/heartbeat"):
            return
        with self.lock:
            if self.struck:
                raise Cut
            if exchange.answer is None:
                self.seen.append(f"{exchange.path} {exchange.body[:120]!r}")
                exchange.number = len(self.seen)
            elif exchange.number == self.at:
                self.struck = True
                assert self.victim is not None
                self.victim.kill()
                raise Cut


def run_scenario(services: Services, at: int) -> bool:
    """Kill at one point and let another runner finish; False when the run is over before there is such a point."""
    killer = Killer(at)
    with create_world(services) as world, ExitStack() as stack:
        run_id = world.queue_run([ICP, PERSON], CONTEXT)
        api = stack.enter_context(start_proxy(world.url, killer))
        provider = stack.enter_context(start_proxy(world.provider_url, killer))
        with killer.lock:  # it is known who dies before anything is asked
            killer.victim = world.start_worker(
                "--concurrency", "1", DATA_ENGINE_API_URL=api, PARALLEL_BASE_URL=provider
            )
        killer.victim.popen.wait(SECONDS)
        if killer.struck:
            world.expire_lease(run_id)
            second = world.run_worker()
            failed = world.select_run(run_id)["status"] == "failed"
            assert second.popen.returncode == (1 if failed else 0), second.text
        check(world, run_id, f"request {at}: {killer.seen[-1]}")
    return killer.struck


def check(world: World, run_id: str, where: str) -> None:
    orders = world.fetch_orders(run_id)
    ordered = [order["metadata"]["step_result_id"] for order in orders]
    assert len(ordered) == len(set(ordered)), f"{where}: bought twice"

    run, steps = world.select_run(run_id), world.select_steps(run_id)
    if run["status"] == "succeeded":
        assert [step["status"] for step in steps] == ["succeeded"] * 2, where
        assert [step["provider_run_id"] for step in steps] == [order["run_id"] for order in orders], where
        assert [step["order"]["status"] for step in steps] == ["completed"] * 2, where
    else:
        # The one window: requested, and the answer not yet on record. Whether it was bought nobody here can know.
        assert run["status"] == "failed", where
        lost = next(step for step in steps if step["status"] == "failed")
        assert "not ordered again" in lost["error_message"], where
        assert (lost["order"]["status"], lost["error_details"]["code"]) == ("unknown", "order_unknown"), where
        assert any(
            word in where for word in ("/v1/tasks/runs ", "research-orders/place", "research-orders/accepted")
        ), where

    ending = {"succeeded": "completed", "failed": "failed"}[run["status"]]
    assert world.select_value("select status from submissions where id = %s", (run["submission_id"],)) == ending, where

    costs = world.select_value("select coalesce(sum(cost), 0) from research_orders where org_id = %s", (world.org_id,))
    assert costs == Decimal("0.10") * sum(step["status"] == "succeeded" for step in steps), where

    for table, operation in (("icp_job_titles", ICP), ("person_intel_briefings", PERSON)):
        found = sum(step["operation_id"] == operation and step["result_status"] == "found" for step in steps)
        assert len(world.select_rows(table)) == found, f"{where}: {table}"
    assert all(account["pending"] == 0 for account in world.fetch_coverage()), where


@pytest.mark.parametrize("parts", [4, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_every_request(world: World, parts: int) -> None:
    places = take_share(range(1, MOST_REQUESTS), parts)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(places), AT_ONCE):
            batch = places[start : start + AT_ONCE]
            struck = list(pool.map(lambda at: run_scenario(world.services, at), batch))
            if not all(struck):
                assert batch[struck.index(False)] > 17, "that is not the whole run"
                return
    raise AssertionError("the run never ends")
