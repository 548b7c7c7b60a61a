"""Orders through the real runner: one per question, collected whatever happened, resolved, within a budget."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.plain_http import HTTP
from tests.runner.conftest import ICP, KEY, SECONDS, World, create_world
from tests.runner.proxy import Cut, Exchange, start_proxy
from tests.runner.test_kill import CONTEXT

SLOW = {**CONTEXT, "company_description": "[recorded:slow]"}
LOST = {**CONTEXT, "company_description": "[recorded:cut]"}


def wait_until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def list_bought(world: World) -> list[dict[str, Any]]:
    """Return what the provider's own book says was ordered by this organisation."""
    ours = {order["id"] for order in world.select_orders()}
    orders = HTTP.get(f"{world.provider_url}/recorded/requests").json()["orders"]
    return [order for order in orders if order["metadata"]["order_id"] in ours]


def answer_another_account(exchange: Exchange) -> Any:
    """Answer as the provider does when it is asked for research with the key of another account."""
    body = b'{"type": "error", "error": {"ref_id": "ref_1", "message": "run not found"}}'
    return (404, "application/json", body) if exchange.method == "GET" else None


def assert_answered(world: World, run_id: str, status: str = "succeeded") -> None:
    """The run has this status, its one order is paid, and its row is there."""
    assert world.select_run(run_id)["status"] == status
    (order,) = world.select_orders()
    assert (order["status"], order["cost"], order["answer"]) == ("completed", 0.1, None)
    (row,) = world.select_rows("icp_job_titles")
    assert row["parallel_run_id"] == order["provider_run_id"] == list_bought(world)[0]["run_id"]
    account = world.fetch_account("icp_job_titles")
    assert account["found"] == account["written"] + account["unchanged"] == 1, account


class TestCollecting:
    def time_out(self, world: World) -> tuple[str, str]:
        """Let a run end before its research does; return the run and its order, when the provider has the answer."""
        run_id = world.queue_run([ICP], SLOW, timeout_seconds=1)
        assert world.run_worker().popen.returncode == 1
        (step,) = world.select_steps(run_id)
        assert (step["status"], step["error_details"]["code"]) == ("failed", "provider_timeout")
        (order,) = world.select_orders()
        assert order["status"] == "open" and world.select_rows("icp_job_titles") == []
        url = f"{world.provider_url}/v1/tasks/runs/{order['provider_run_id']}"
        wait_until(lambda: HTTP.get(url, headers={"x-api-key": "k"}).json()["status"] == "completed")
        return run_id, order["id"]

    def test_what_a_time_out_left_is_collected_by_a_command(self, world: World) -> None:
        run_id, order_id = self.time_out(world)
        tally = world.read_dex("orders", "collect", order_id)
        assert tally == {"completed": 1, "failed": 0, "open": 0, "unreachable": 0, "settled": 1}
        assert_answered(world, run_id)
        (step,) = world.select_steps(run_id)
        assert "parallel_raw_response" not in step["output_payload"]["cumulative_context"], "the answer is kept once"
        (order,) = world.select_orders()
        assert step["finished_at"] == order["ended_at"] == world.select_rows("icp_job_titles")[0]["source_recorded_at"]
        assert world.read_dex("orders", "collect", "--org", world.org_id)["completed"] == 0, "once is enough"
        assert "nothing to collect" in world.run_dex("orders", "collect", order_id).stderr

    def test_without_an_api_the_command_starts_one(self, world: World) -> None:
        run_id, _ = self.time_out(world)
        world.run_dex("orders", "collect", "--org", world.org_id, DATA_ENGINE_API_URL="")
        assert_answered(world, run_id)

    def test_by_the_next_worker_though_no_run_is_queued(self, world: World) -> None:
        run_id, _ = self.time_out(world)
        worker = world.run_worker()
        assert (worker.popen.returncode, "Orders collected" in worker.text) == (0, True), worker.text
        assert_answered(world, run_id)

    def test_by_reconcile(self, world: World) -> None:
        run_id, _ = self.time_out(world)
        said = world.run_dex("reconcile", PARALLEL_API_KEY="").stderr
        assert "there are open orders" in said and world.select_orders()[0]["status"] == "open"
        world.run_dex("reconcile")
        assert_answered(world, run_id)

    def test_by_a_retry_of_the_run(self, world: World) -> None:
        run_id, _ = self.time_out(world)
        assert world.read_dex("runs", "retry", run_id)["status"] == "queued"
        assert world.run_worker().popen.returncode == 0
        assert_answered(world, run_id)

    def test_a_provider_that_cannot_be_reached_is_said(self, world: World) -> None:
        self.time_out(world)
        tally = world.read_dex(
            "orders", "collect", "--org", world.org_id, status=1, PARALLEL_BASE_URL="http://127.0.0.1:9"
        )
        assert (tally["unreachable"], tally["completed"]) == (1, 0)
        assert world.select_orders()[0]["status"] == "open"

    def test_research_that_failed_meanwhile_costs_nothing(self, world: World) -> None:
        def keep_away(exchange: Exchange) -> None:
            if exchange.method == "GET":
                raise Cut

        run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:failed]"}, timeout_seconds=1)
        with start_proxy(world.provider_url, keep_away) as url:
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
        (order,) = world.select_orders()
        assert world.read_dex("orders", "collect", order["id"])["failed"] == 1
        (order,) = world.select_orders()
        assert (order["status"], order["cost"]) == ("failed", 0)
        assert world.select_steps(run_id)[0]["error_details"]["code"] == "provider_failed"

    def test_research_that_waits_for_a_person_is_not_given_up(self, world: World) -> None:
        run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:action_required]"})
        assert world.run_worker().popen.returncode == 1
        (step,) = world.select_steps(run_id)
        assert step["error_details"]["code"] == "provider_action_required", step
        (order,) = world.select_orders()
        assert (order["status"], order["cost"]) == ("open", None)
        world.run_dex("orders", "collect", order["id"])
        assert_answered(world, run_id)
        assert len(list_bought(world)) == 1

    def test_the_key_of_another_account_ends_no_order(self, world: World) -> None:
        run_id, order_id = self.time_out(world)
        with start_proxy(world.provider_url, answer_another_account) as url:
            tally = world.read_dex("orders", "collect", order_id, status=1, PARALLEL_BASE_URL=url)
            assert (tally["failed"], tally["unreachable"]) == (0, 1)
            world.run_dex("runs", "retry", run_id)
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
        (step,) = world.select_steps(run_id)
        assert step["error_details"]["code"] == "provider_unknown", step
        assert f"`dex orders resolve {order_id} --accepted RUN_ID`" in step["error_message"]
        (order,) = world.select_orders()
        assert (order["status"], order["cost"], order["error_code"]) == ("open", None, "provider_unknown")
        said = world.run_dex("orders", "--org", world.org_id).stderr
        assert f"the provider does not know run `{order['provider_run_id']}`" in said
        assert f"dex orders resolve {order_id}" in said
        key = "company_domain=northwind-robotics.example.com"
        explained = world.run_dex("explain", "icp_job_titles", "--org", world.org_id, "--key", key).stdout
        assert "ordered at parallel" in explained and f"dex orders resolve {order_id}" in explained
        world.run_dex("orders", "collect", order_id)
        assert_answered(world, run_id)
        assert len(list_bought(world)) == 1

    def test_research_that_the_provider_lost_is_bought_again_when_a_person_says_so(self, world: World) -> None:
        run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:forgotten]"})
        for _ in range(2):
            assert world.run_worker().popen.returncode == 1
            world.run_dex("runs", "retry", run_id)
        (order,) = world.select_orders()
        assert (order["status"], len(list_bought(world))) == ("open", 1)
        resolved = world.read_dex("orders", "resolve", order["id"], "--not-accepted")
        assert (resolved["status"], resolved["cost"]) == ("not_accepted", "0")
        assert order["provider_run_id"] in resolved["error_message"]
        assert world.run_worker().popen.returncode == 1
        assert [one["status"] for one in world.select_orders()] == ["not_accepted", "open"]
        assert len(list_bought(world)) == 2

    def test_json_that_is_not_the_research_is_no_answer(self, world: World) -> None:
        """A gateway may answer 200 with JSON of its own: recorded as the answer, the research would be lost."""
        pages = iter([b'{"message": "maintenance"}', b'{"run": "none", "output": null}'])

        def answer_with_page(exchange: Exchange) -> Any:
            is_result = exchange.answer is not None and "/result" in exchange.path
            page = next(pages, None) if is_result else None
            return None if page is None else (200, "application/json", page)

        run_id = world.queue_run([ICP], CONTEXT)
        with start_proxy(world.provider_url, answer_with_page) as url:
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 0
        assert next(pages, None) is None
        assert_answered(world, run_id)

    def test_a_stand_in_may_answer_with_a_recording_of_another_run(self, world: World) -> None:
        """Its answers carry the run id of the recording, and none of the metadata of the order."""

        def answer_with_recording(exchange: Exchange) -> Any:
            if exchange.method != "GET" or exchange.answer is None or exchange.answer.status_code != 200:
                return None
            answer = exchange.answer.json()
            answer.get("run", answer).update(run_id="trun_recorded", metadata={})
            return (200, "application/json", json.dumps(answer).encode())

        run_id = world.queue_run([ICP], CONTEXT)
        with start_proxy(world.provider_url, answer_with_recording) as url:
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 0
        assert_answered(world, run_id)


class TestResolving:
    def lose_answer(self, world: World) -> tuple[str, str]:
        """Let the answer to an order be lost at the provider; return the run and the order."""
        run_id = world.queue_run([ICP], LOST)
        assert world.run_worker().popen.returncode == 1
        (listed,) = world.read_dex("orders", "--org", world.org_id)
        assert (listed["status"], listed["cost"], listed["price"]) == ("unknown", None, "0.10")
        said = world.run_dex("orders", "--org", world.org_id, "--status", "unknown").stderr
        assert f"`order_id` `{listed['id']}`" in said and f"dex orders resolve {listed['id']}" in said
        return run_id, listed["id"]

    def test_accepted_its_answer_is_collected(self, world: World) -> None:
        run_id, order_id = self.lose_answer(world)
        (bought,) = list_bought(world)
        assert bought["metadata"]["order_id"] == order_id, "what to look for at the provider"
        resolved = world.read_dex("orders", "resolve", order_id, "--accepted", bought["run_id"])
        assert (resolved["status"], resolved["provider_run_id"]) == ("open", bought["run_id"])
        world.run_dex("orders", "collect", order_id)
        assert_answered(world, run_id)

    def test_a_mistyped_run_id_is_corrected_and_buys_nothing(self, world: World) -> None:
        run_id, order_id = self.lose_answer(world)
        (bought,) = list_bought(world)
        with create_world(world.services) as neighbour:
            neighbour.queue_run([ICP], CONTEXT)
            assert neighbour.run_worker().popen.returncode == 0
            (other,) = neighbour.select_orders()
        for wrong in ("trun_nobody", other["provider_run_id"]):
            world.run_dex("orders", "resolve", order_id, "--accepted", wrong)
            tally = world.read_dex("orders", "collect", order_id, status=1)
            assert (tally["unreachable"], tally["completed"], tally["failed"]) == (1, 0, 0)
            world.run_dex("runs", "retry", run_id)
            assert world.run_worker().popen.returncode == 1
            (order,) = world.select_orders()
            assert (order["status"], order["error_code"]) == ("open", "provider_unknown"), wrong
            assert world.select_rows("icp_job_titles") == []
        assert f"run `{other['provider_run_id']}` is the research of another order" in order["error_message"]
        world.run_dex("orders", "resolve", order_id, "--accepted", " ", status=2)
        world.run_dex("orders", "resolve", order_id, "--accepted", f" {bought['run_id']}")
        world.run_dex("orders", "collect", order_id)
        assert_answered(world, run_id)
        assert len(list_bought(world)) == 1

    def test_until_then_nobody_orders_the_question_again(self, world: World) -> None:
        run_id, order_id = self.lose_answer(world)
        world.run_dex("runs", "retry", run_id)
        other = world.queue_run([ICP], LOST)
        assert world.run_worker().popen.returncode == 1
        for run in (run_id, other):
            (step,) = world.select_steps(run)
            assert (step["error_details"]["code"], step["order_id"]) == ("order_unknown", order_id)
        assert len(list_bought(world)) == len(world.select_orders()) == 1

    def test_not_accepted_it_is_ordered_again(self, world: World) -> None:
        """The request never reaches the provider, and the runner cannot know."""

        def swallow(exchange: Exchange) -> None:
            if exchange.method == "POST":
                raise Cut

        run_id = world.queue_run([ICP], CONTEXT)
        with start_proxy(world.provider_url, swallow) as url:
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
        (order,) = world.select_orders()
        assert order["status"] == "unknown" and list_bought(world) == []
        assert world.read_dex("orders", "resolve", order["id"], "--not-accepted")["cost"] == "0"
        world.run_dex("orders", "resolve", order["id"], "--not-accepted", status=1)
        world.run_dex("runs", "retry", run_id)
        assert world.run_worker().popen.returncode == 0
        assert [one["status"] for one in world.select_orders()] == ["not_accepted", "completed"]
        assert len(list_bought(world)) == len(world.select_rows("icp_job_titles")) == 1

    def test_what_is_not_in_doubt_cannot_be_resolved(self, world: World) -> None:
        world.queue_run([ICP], CONTEXT)
        world.run_worker()
        (order,) = world.select_orders()
        for decision in (("--not-accepted",), ("--accepted", order["provider_run_id"])):
            said = world.run_dex("orders", "resolve", order["id"], *decision, status=1).stderr
            assert "there is nothing to resolve" in said
        world.run_dex("orders", "resolve", order["id"], status=2)


class TestOneOrderPerQuestion:
    def test_equal_questions_of_many_runners_are_bought_once(self, world: World) -> None:
        runs = [world.queue_run([ICP], SLOW) for _ in range(9)]
        workers = [world.start_worker("--concurrency", "3") for _ in range(3)]
        for worker in workers:
            assert worker.wait_for_exit() == 0, worker.text
        (order,) = world.select_orders()
        assert len(list_bought(world)) == 1
        actions = []
        for run_id in runs:
            assert world.select_run(run_id)["status"] == "succeeded"
            (step,) = world.select_steps(run_id)
            (attempt,) = step["output_payload"]["operation_result"]["provider_attempts"]
            assert (step["order_id"], attempt["order_id"]) == (order["id"], order["id"])
            assert step["finished_at"] == order["ended_at"], "the answer is as old as its order"
            actions.append(attempt["action"])
        assert sorted(actions) == ["bought"] + ["reused"] * 8
        assert len(world.select_rows("icp_job_titles")) == 1

    def test_a_fresh_answer_is_taken_and_refresh_buys_anew_once(self, world: World) -> None:
        for _ in range(2):
            world.queue_run([ICP], CONTEXT)
            world.run_worker()
        assert len(list_bought(world)) == 1
        run_id = world.queue_run([ICP], CONTEXT, refresh=True)
        world.run_worker()
        assert len(list_bought(world)) == 2
        world.execute("update pipeline_runs set status = 'failed' where id = %s", (run_id,))
        world.execute("update step_results set status = 'failed' where pipeline_run_id = %s", (run_id,))
        world.run_dex("runs", "retry", run_id)
        assert world.run_worker().popen.returncode == 0
        assert len(list_bought(world)) == 2, "a retry does not buy again"

    def test_a_longer_prompt_or_another_processor_is_another_question(self, world: World) -> None:
        world.queue_run([ICP], CONTEXT)
        world.queue_run([ICP], CONTEXT, processor="core")
        world.queue_run([ICP], {**CONTEXT, "company_description": "Builds robots."})
        world.queue_run([ICP], {**CONTEXT, "colour": "green"})
        world.run_worker()
        assert len(list_bought(world)) == len(world.select_orders()) == 3, (
            "what the prompt does not ask makes no difference"
        )


class TestBudget:
    def test_beyond_it_nothing_is_bought_until_it_allows(self, world: World) -> None:
        (budget,) = world.read_dex("org", "budget", world.org_id, "--usd", "0.15")["budgets"]
        assert budget == {"org_id": world.org_id, "operation": None, "usd": "0.15", "spent": "0"}
        runs = [world.queue_run([ICP], {**CONTEXT, "domain": f"company-{n}.example.com"}) for n in range(2)]
        assert world.run_worker("--concurrency", "2").popen.returncode == 1
        statuses = sorted(world.select_run(run_id)["status"] for run_id in runs)
        assert (statuses, len(list_bought(world))) == (["failed", "succeeded"], 1)
        (refused,) = [run_id for run_id in runs if world.select_run(run_id)["status"] == "failed"]
        (step,) = world.select_steps(refused)
        assert step["error_details"]["code"] == "budget_exceeded"
        assert "has 0.05 USD left, and `pro` costs 0.10 USD" in step["error_message"]
        assert step["order_id"] is None

        world.run_dex("org", "budget", world.org_id, "--usd", "0.20")
        world.run_dex("runs", "retry", refused)
        assert world.run_worker().popen.returncode == 0
        (cost,) = world.read_dex("costs", "--org", world.org_id)
        assert (cost["operation"], cost["orders"], cost["cost"]) == (ICP, 2, "0.20")
        assert len(list_bought(world)) == 2

    def test_of_one_operation_and_without_a_price(self, world: World) -> None:
        world.run_dex("org", "budget", world.org_id, "--usd", "0", "--operation", ICP)
        run_id = world.queue_run([ICP], CONTEXT)
        world.run_worker()
        assert f"the budget of `{ICP}` of 0 USD" in world.select_steps(run_id)[0]["error_message"]
        world.run_dex("org", "budget", world.org_id, "--usd", "none", "--operation", ICP)
        world.run_dex("org", "budget", world.org_id, "--usd", "5")
        other = world.queue_run([ICP], CONTEXT, processor="hyper")
        world.run_worker()
        assert "`hyper` has no price, so the budget" in world.select_steps(other)[0]["error_message"]
        assert list_bought(world) == []


class TestManaging:
    def test_a_canceled_run_stops_and_its_answer_is_collected(self, world: World) -> None:
        run_id = world.queue_run([ICP, ICP], SLOW)
        worker = world.start_worker("--lease", "1")
        wait_until(lambda: any(order["provider_run_id"] for order in world.select_orders()))
        url = f"{world.url}/api/v1/submissions/{world.select_run(run_id)['submission_id']}/cancel"
        headers = {"authorization": f"Bearer {KEY}", "x-internal-org-id": world.org_id}
        canceled = HTTP.post(url, headers=headers).json()["data"]
        (run,) = canceled["pipeline_runs"]
        assert (canceled["status"], [step["status"] for step in run["step_results"]]) == (
            "canceled",
            ["failed", "skipped"],
        )
        assert worker.wait_for_exit() == 1 and "Run left" in worker.text
        world.run_dex("runs", "cancel", run_id, status=1)
        wait_until(lambda: world.read_dex("orders", "collect", "--org", world.org_id)["open"] == 0)
        assert_answered(world, run_id, "canceled")
        assert [step["status"] for step in world.select_steps(run_id)] == ["succeeded", "skipped"]
        world.run_dex("runs", "retry", run_id)
        assert world.run_worker().popen.returncode == 0
        assert world.select_run(run_id)["status"] == "succeeded" and len(list_bought(world)) == 1

    def test_a_queued_run_is_canceled_and_taken_up_again(self, world: World) -> None:
        run_id = world.queue_run([ICP], CONTEXT)
        assert world.read_dex("runs", "cancel", run_id)["status"] == "canceled"
        assert "No run is queued" in world.run_worker().text
        assert "`canceled`: it has ended" in world.run_dex("runs", "cancel", run_id, status=1).stderr
        shown = world.read_dex("runs", "retry", run_id)
        assert (shown["status"], [step["status"] for step in shown["step_results"]]) == ("queued", ["queued"])
        assert world.run_worker().popen.returncode == 0
        assert_answered(world, run_id)

    def test_runs_are_listed_and_shown(self, world: World) -> None:
        done = world.queue_run([ICP], CONTEXT)
        world.run_worker()
        waiting = world.queue_run([ICP], CONTEXT)
        listed = world.read_dex("runs", "list", "--org", world.org_id)
        assert [(run["id"], run["status"]) for run in listed] == [(waiting, "queued"), (done, "succeeded")]
        for cut, noted in (("1", True), ("3", False)):
            noticed = world.run_dex("runs", "list", "--org", world.org_id, "--limit", cut).stderr
            assert ("at most 1 runs are listed" in noticed) is noted
        only = world.read_dex("runs", "list", "--org", world.org_id, "--status", "queued")
        assert [run["id"] for run in only] == [waiting]
        shown = world.read_dex("runs", "show", done)
        assert [step["status"] for step in shown["step_results"]] == ["succeeded"]
        assert shown["input"] == listed[0]["input"] == CONTEXT
        assert [order["cost"] for order in shown["orders"]] == ["0.10"]
        text = world.run_dex("runs", "show", done).stdout
        assert "succeeded" in text and shown["orders"][0]["id"] in text
        assert "`succeeded`: only what failed" in world.run_dex("runs", "retry", done, status=1).stderr
        world.run_dex("runs", "show", world.org_id, status=1)

    def test_a_run_that_nobody_executes_is_listed_as_such(self, world: World) -> None:
        run_id = world.queue_run([ICP], SLOW)
        worker = world.start_worker()
        wait_until(lambda: any(order["provider_run_id"] for order in world.select_orders()))
        worker.kill()
        assert world.read_dex("runs", "list", "--org", world.org_id, "--abandoned") == []
        world.expire_lease(run_id)
        (left,) = world.read_dex("runs", "list", "--org", world.org_id, "--abandoned")
        assert (left["id"], left["is_abandoned"]) == (run_id, True)
        assert "no runner any more" in world.run_dex("runs", "list", "--org", world.org_id).stderr
        assert world.run_worker().popen.returncode == 0
        assert_answered(world, run_id)

    def test_a_worker_tells_what_it_waits_for(self, world: World) -> None:
        for cue in ("slow", "empty"):  # what was found to be nothing stays with its order, which is open no more
            world.queue_run([ICP], {**CONTEXT, "company_description": f"[recorded:{cue}]"})
        worker = world.run_worker()
        assert "No more run is queued; waiting for those under way" in worker.text
        (idle,) = [line for line in worker.log if line["message"] == "No run is queued; stopping"]
        assert (idle["queued"], idle["leased"], idle["open_orders"]) == (0, 0, 0)

    def test_a_run_that_throws_again_and_again_is_set_aside(self, world: World) -> None:
        """The engine takes no result of it: the runner leaves it, again and again."""

        def refuse(exchange: Exchange) -> Any:
            is_result = b'"output_payload"' in exchange.body and exchange.answer is None
            return (403, "text/html", b"<html>Forbidden</html>") if is_result else None

        run_id = world.queue_run([ICP], CONTEXT)
        world.execute("update pipeline_runs set claims = 8 where id = %s", (run_id,))
        with start_proxy(world.url, refuse) as url:
            for _ in range(2):
                assert world.run_worker(DATA_ENGINE_API_URL=url).popen.returncode == 1
                world.expire_lease(run_id)
            assert world.run_worker(DATA_ENGINE_API_URL=url).popen.returncode == 0
        run = world.select_run(run_id)
        assert run["status"] == "failed"
        assert run["error_message"].startswith("set aside after 10 attempts: ") and "403" in run["error_message"]
        world.run_dex("runs", "retry", run_id)
        assert world.run_worker().popen.returncode == 0
        assert_answered(world, run_id)

    def test_an_answer_that_nobody_can_read_ends_its_run(self, world: World) -> None:
        """At once if it is too deep for every reader; when the step's time is over if it may be a proxy's page."""
        answers = [b"<html>Back soon</html>", b"[" * 20_000 + b"]" * 20_000]

        def spoil_answer(exchange: Exchange) -> Any:
            is_result = exchange.answer is not None and "/result" in exchange.path
            return (200, "application/json", answers[-1]) if is_result else None

        with start_proxy(world.provider_url, spoil_answer) as url:
            deep = world.queue_run([ICP], CONTEXT)
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
            run = world.select_run(deep)
            assert (run["status"], run["error_details"]["code"]) == ("failed", "not_recorded")
            assert run["error_message"].endswith("the answer cannot be read: the JSON is nested too deeply")
            answers.pop()
            page = world.queue_run([ICP], {**CONTEXT, "domain": "page.example.com"}, timeout_seconds=1)
            assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
        run = world.select_run(page)
        assert (run["status"], run["error_details"]["code"]) == ("failed", "provider_timeout")
        assert "within 1 s; at last the provider's answer cannot be read" in run["error_message"]
        for failed in (deep, page):
            world.run_dex("runs", "retry", failed)
        assert world.run_worker().popen.returncode == 0
        assert {world.select_run(run)["status"] for run in (deep, page)} == {"succeeded"}
        assert len(list_bought(world)) == 2


def test_killed_between_acceptance_and_run_id_it_is_found_in_the_providers_book(world: World) -> None:
    started = threading.Event()

    def hold(exchange: Exchange) -> None:
        if exchange.path.endswith("/accepted") and exchange.answer is None:
            started.set()
            raise Cut

    run_id = world.queue_run([ICP], CONTEXT)
    with start_proxy(world.url, hold) as url:
        worker = world.start_worker(DATA_ENGINE_API_URL=url)
        assert started.wait(SECONDS)
        worker.kill()
    (bought,) = list_bought(world)
    world.expire_lease(run_id)
    assert world.run_worker().popen.returncode == 1
    (order,) = world.select_orders()
    assert (order["status"], order["provider_run_id"]) == ("unknown", None)
    world.run_dex("orders", "resolve", order["id"], "--accepted", bought["run_id"])
    world.run_dex("runs", "retry", run_id)
    assert world.run_worker().popen.returncode == 0
    assert_answered(world, run_id)
