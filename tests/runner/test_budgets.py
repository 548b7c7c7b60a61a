"""Budgets hold whoever asks at the same moment, through two processes of the API over one database."""

import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.conftest import create_database
from tests.plain_http import HTTP, find_free_port
from tests.runner.conftest import ICP, KEY, PERSON, Services, World, create_world

PARTICIPANTS = 32
PAUSE_KEY = 4711
PRICES = {"lite": "0.005", "base": "0.01", "core": "0.025", "pro": "0.10"}
RESERVED = """
select coalesce(sum(case when status in ('requested', 'open', 'unknown') then price else cost end), 0)
from research_orders where org_id = %s and (%s = '' or operation = %s)
"""


@pytest.fixture(scope="module")
def pair(server_dsn: str, template: str) -> Iterator[tuple[Services, Services]]:
    """Two processes of the API over one database."""
    with ExitStack() as stack:
        dsn = stack.enter_context(create_database(server_dsn, template))
        first, second = (Services(dsn, find_free_port(), "", stack) for _ in range(2))
        for services in (first, second):
            services.start_api()
        yield first, second
        stack.close()


def insert_steps(world: World, count: int) -> list[str]:
    """Insert the steps of as many runs; return their ids."""
    runs = [world.queue_run([ICP], {"n": n}) for n in range(count)]
    return [world.select_steps(run_id)[0]["id"] for run_id in runs]


def post_order(services: Services, path: str, body: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{services.url}/api/internal/research-orders/{path}"
    deadline = time.monotonic() + 60
    while True:  # as the runner does: all lock one budget, and a busy machine lets some of them wait too long
        answer = HTTP.post(url, json=body, headers=headers, timeout=60)
        if answer.status_code != 503 or time.monotonic() > deadline:
            break
    assert answer.is_success, answer.text
    return answer.json()["data"]


def place_order(services: Services, step: str, **changes: str) -> Any:
    body = {"step_result_id": step, "operation": ICP, "provider": "parallel", "processor": "pro", "holder": step}
    return post_order(services, "place", {"question": uuid.uuid4().hex * 2, **body, **changes})


@contextmanager
def hold_inserts(world: World) -> Iterator[psycopg.Connection[Any]]:
    """Pause whoever makes an order between its look at the budget and its insert, until the block ends."""
    world.execute(f"""
        create function pause_order() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock_shared({PAUSE_KEY}); return new; end; $$;
        create trigger pause_order before insert on research_orders for each row execute function pause_order();
    """)
    try:
        with psycopg.connect(world.services.dsn, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", (PAUSE_KEY,))
            yield connection
    finally:
        world.execute("drop trigger pause_order on research_orders; drop function pause_order()")


def wait_for_waiters(world: World, count: int) -> None:
    """Wait until so many statements of the API wait for a lock."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while world.select_value(waiting) != count:
        assert time.monotonic() < deadline, f"{world.select_value(waiting)} wait for a lock"
        time.sleep(0.02)


def test_a_pause_between_look_and_insert_lets_nobody_past_the_budget(pair: tuple[Services, Services]) -> None:
    first, second = pair
    with create_world(first) as world, ThreadPoolExecutor(2) as threads:
        world.execute("insert into budgets (org_id, usd) values (%s, 0.15)", (world.org_id,))
        one, other = insert_steps(world, 2)
        with hold_inserts(world):
            paused = threads.submit(place_order, first, one)
            wait_for_waiters(world, 1)
            late = threads.submit(place_order, second, other)
            wait_for_waiters(world, 2)
            assert not paused.done() and not late.done()
        assert paused.result()["action"] == "buy"
        assert (late.result()["action"], late.result()["code"]) == ("stop", "budget_exceeded")
        assert len(world.select_orders()) == 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """What each participant does, chosen at random."""

    budget: Decimal
    operation_budget: Decimal | None  # of ICP
    parts: tuple[tuple[str, str, str, str, float], ...]  # operation, processor, question, fate, pause


def choose_schedule(seed: int) -> Schedule:
    chooser = random.Random(seed)
    questions = [uuid.UUID(int=chooser.getrandbits(128)).hex * 2 for _ in range(PARTICIPANTS)]
    parts = tuple(
        (
            chooser.choice([ICP, ICP, PERSON]),
            chooser.choice([*PRICES]),
            chooser.choice(questions) if chooser.random() < 0.2 else question,
            chooser.choice(["complete", "fail", "refuse", "doubt", "accept", "leave"]),
            chooser.uniform(0, 0.01),
        )
        for question in questions
    )
    total = sum(Decimal(PRICES[processor]) for _, processor, *_ in parts)
    budget = (total * Decimal(str(round(chooser.uniform(0.2, 0.8), 2)))).quantize(Decimal("0.001"))
    return Schedule(budget, budget / 2 if chooser.random() < 0.5 else None, parts)


def run_schedule(pair: tuple[Services, Services], seed: int) -> int:
    """Let all participants order at once; return how many orders the budget refused."""
    schedule = choose_schedule(seed)
    with create_world(pair[0]) as world:
        world.execute("insert into budgets (org_id, usd) values (%s, %s)", (world.org_id, schedule.budget))
        if schedule.operation_budget is not None:
            row = (world.org_id, ICP, schedule.operation_budget)
            world.execute("insert into budgets (org_id, operation, usd) values (%s, %s, %s)", row)
        steps = insert_steps(world, PARTICIPANTS)
        gate = threading.Barrier(PARTICIPANTS)

        def take_part(number: int) -> str:
            operation, processor, question, fate, pause = schedule.parts[number]
            services = pair[number % 2]
            gate.wait()
            time.sleep(pause)
            placed = place_order(services, steps[number], operation=operation, processor=processor, question=question)
            if placed["action"] == "buy":
                bring_to_fate(services, placed["order"]["id"], steps[number], fate)
                check_budgets(world, schedule, seed)
            return str(placed["code"] or placed["action"])

        with ThreadPoolExecutor(PARTICIPANTS) as threads:
            results = list(threads.map(take_part, range(PARTICIPANTS)))
        check_budgets(world, schedule, seed)
        assert "buy" in results, f"seed {seed}: {results}"
        return results.count("budget_exceeded")


def bring_to_fate(services: Services, order_id: str, holder: str, fate: str) -> None:
    refusal = {"order_id": order_id, "holder": holder, "message": "as the schedule says"}
    if fate in ("refuse", "doubt"):
        post_order(services, "not-accepted" if fate == "refuse" else "unknown", refusal)
    if fate in ("accept", "complete", "fail"):
        post_order(services, "accepted", {"order_id": order_id, "provider_run_id": f"trun_{order_id}"})
    if fate == "complete":
        post_order(services, "ended", {"order_id": order_id, "status": "completed", "answer": {}})
    if fate == "fail":
        post_order(services, "ended", {"order_id": order_id, "status": "failed", "code": "c", "message": "m"})


def check_budgets(world: World, schedule: Schedule, seed: int) -> None:
    reserved = world.select_value(RESERVED, (world.org_id, "", ""))
    assert reserved <= schedule.budget, f"seed {seed}: {reserved} of {schedule.budget}"
    if schedule.operation_budget is not None:
        reserved = world.select_value(RESERVED, (world.org_id, ICP, ICP))
        assert reserved <= schedule.operation_budget, f"seed {seed}: {reserved} of {schedule.operation_budget}"


def test_random_schedules_never_pass_the_budget(pair: tuple[Services, Services]) -> None:
    assert sum(run_schedule(pair, seed) for seed in range(3)) > 0, "the budgets were never met"


@pytest.mark.long
def test_two_hundred_random_schedules_never_pass_the_budget(pair: tuple[Services, Services]) -> None:
    assert sum(run_schedule(pair, seed) for seed in range(1000, 1200)) > 200, "the budgets were hardly met"
