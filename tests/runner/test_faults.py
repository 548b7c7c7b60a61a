"""What can go wrong between runner, API and provider: nothing lost, nothing doubled, every warning says what."""

import json
import threading
from typing import Any

from scripts.processes import Process
from tests.plain_http import HTTP, find_free_port
from tests.runner.conftest import COMPANY, ICP, PERSON, World
from tests.runner.proxy import Cut, Exchange, start_proxy
from tests.runner.test_kill import CONTEXT


def run_through_proxy(world: World, hook: Any, *arguments: str) -> Process:
    """Run a worker to its end with a hook between it and the API."""
    with start_proxy(world.url, hook) as url:
        return world.run_worker(*arguments, DATA_ENGINE_API_URL=url)


def format_warnings(worker: Process) -> str:
    return "\n".join(f"{line['message']} {line.get('error', '')}" for line in worker.list_warnings())


def assert_done(world: World, run_id: str, worker: Process) -> None:
    """The run succeeded, its research was bought once, and its row is there."""
    assert world.select_run(run_id)["status"] == "succeeded", worker.text
    assert len(world.fetch_orders(run_id)) == 1
    assert len(world.select_rows("icp_job_titles")) == 1, worker.text
    for account in world.fetch_coverage():
        assert account["found"] == account["written"] + account["unchanged"] == 1, account


def test_wrong_key(world: World) -> None:
    run_id = world.queue_run([ICP], CONTEXT)
    worker = world.run_worker(DATA_ENGINE_INTERNAL_API_KEY="another-key")
    assert worker.popen.returncode == 1
    assert "401" in format_warnings(worker)
    assert world.select_run(run_id)["status"] == "queued"


def test_a_missing_setting_stops_the_start_with_its_name(world: World) -> None:
    for name in ("DATA_ENGINE_API_URL", "DATA_ENGINE_INTERNAL_API_KEY", "PARALLEL_API_KEY"):
        worker = world.run_worker(**{name: ""})
        assert worker.popen.returncode == 2
        assert name in format_warnings(worker)


def test_the_providers_key_is_in_no_log_and_no_record(world: World) -> None:
    """A provider that refuses a key may repeat it, and tenants read the error of their run."""

    def repeat_key(exchange: Exchange) -> Any:
        message = f"no key {exchange.headers['x-api-key']}"
        return (401, "application/json", json.dumps({"error": {"message": message}}).encode())

    run_id = world.queue_run([ICP], CONTEXT)
    with start_proxy(world.provider_url, repeat_key) as url:
        worker = world.run_worker(PARALLEL_BASE_URL=url, PARALLEL_API_KEY="a-key-of-31")
    run = world.select_run(run_id)
    assert "the provider answered 401: no key [PARALLEL_API_KEY]" in run["error_message"]
    assert "a-key-of-31" not in f"{worker.text}{run}{world.select_steps(run_id)}{world.select_orders()}"


def test_a_refusal_of_many_words_is_a_refusal(world: World) -> None:
    """A provider may repeat what it refuses; a record of the refusal that is itself refused would leave a doubt."""
    words = json.dumps({"type": "error", "error": {"message": "too long: " + 200_000 * "x"}}).encode()

    def refuse(exchange: Exchange) -> Any:
        return (422, "application/json", words) if exchange.method == "POST" else None

    run_id = world.queue_run([ICP], CONTEXT)
    with start_proxy(world.provider_url, refuse) as url:
        assert world.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
    (order,) = world.select_orders()
    (step,) = world.select_steps(run_id)
    assert (order["status"], step["error_details"]["code"]) == ("not_accepted", "not_bought")


def test_missing_organisation_header_is_warned_of_and_repaired(world: World) -> None:
    """The incident: for 22 days every persist call went out like this."""

    def strip(exchange: Exchange) -> None:
        if exchange.path.endswith("/upsert"):
            exchange.headers.pop("x-internal-org-id", None)

    run_id = world.queue_run([ICP], CONTEXT)
    worker = run_through_proxy(world, strip)
    assert "Failed to persist ICP job titles to dedicated table" in format_warnings(worker)
    assert "401" in format_warnings(worker)
    assert_done(world, run_id, worker)
    assert world.fetch_coverage()[0]["written"] == 1  # by the repair


def test_unknown_spec_is_warned_of_and_repaired(world: World) -> None:
    """The runner is deployed before the API: its endpoint is not there yet."""

    def ask_for_another_spec(exchange: Exchange) -> None:
        exchange.path = exchange.path.replace("/icp-job-titles/", "/not-there-yet/")

    run_id = world.queue_run([ICP], CONTEXT)
    worker = run_through_proxy(world, ask_for_another_spec)
    assert "answered 404 unknown_route" in format_warnings(worker)
    assert "deploy the API with the specs of the runner" in format_warnings(worker)
    assert_done(world, run_id, worker)


def test_a_value_the_engine_refuses_is_named_and_stays_on_record(world: World) -> None:
    run_id = world.queue_run([ICP], {**CONTEXT, "domain": "not a domain"})
    worker = world.run_worker()
    assert "422" in format_warnings(worker) and "`company_domain`" in format_warnings(worker)
    assert world.select_run(run_id)["status"] == "succeeded"
    assert world.select_rows("icp_job_titles") == []
    account = world.fetch_account("icp_job_titles")
    assert (account["found"], account["rejected"]) == (1, 1)
    reasons = world.select_value(
        "select reasons from step_persistence where org_id = %s and spec = 'icp_job_titles'", (world.org_id,)
    )
    assert reasons[0]["field"] == "company_domain"


def test_a_repair_that_fails_is_warned_of(world: World) -> None:
    """The run is green, and its rows are nowhere: the runner's log has to say so, too."""

    def without_the_ledger(exchange: Exchange) -> None:
        if exchange.path.endswith("update-status") and b'"succeeded"' in exchange.body:
            names = ("step_persistence", "step_persistence_aside")
            names = names if exchange.answer is None else names[::-1]
            world.execute(f"alter table {names[0]} rename to {names[1]}")

    run_id = world.queue_run([ICP], CONTEXT)
    worker = run_through_proxy(world, without_the_ledger)
    assert world.select_run(run_id)["status"] == "succeeded"
    assert "Persistence is not complete repair_failed: what this run found is pending" in format_warnings(worker), (
        worker.text
    )


def test_a_proxys_page_is_no_answer(world: World) -> None:
    pages = iter([True, True])

    def page(exchange: Exchange) -> Any:
        if exchange.answer is None and exchange.path.endswith("/upsert") and next(pages, False):
            return (502, "text/html", b"<html><h1>Bad Gateway</h1></html>")
        return None

    run_id = world.queue_run([ICP], CONTEXT)
    worker = run_through_proxy(world, page)
    assert "502: text/html instead of JSON; trying again" in format_warnings(worker)
    assert_done(world, run_id, worker)


def test_every_answer_lost_once(world: World) -> None:
    """The request is done, its answer cut off: repeated, it must neither fail nor do a thing twice."""
    lost: set[str] = set()

    def cut(exchange: Exchange) -> None:
        what = f"{exchange.path} {exchange.body[:200]!r}"
        if exchange.answer is not None and "/claim" not in what and "/heartbeat" not in what and what not in lost:
            lost.add(what)
            raise Cut

    run_id = world.queue_run([ICP], CONTEXT)
    worker = run_through_proxy(world, cut)
    assert len(lost) >= 8
    assert_done(world, run_id, worker)


def test_api_restarted_during_a_run(world: World) -> None:
    run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    worker = world.start_worker()
    worker.wait_for_line("Step started")
    while world.select_steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    world.services.stop_api()
    worker.wait_for_line("No run could be claimed")
    worker.wait_for_line("trying again")
    waiting = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:empty]"})
    world.services.start_api()
    assert worker.wait_for_exit() == 0, worker.text
    assert world.select_run(waiting)["status"] == "succeeded", "it went on claiming"
    assert_done(world, run_id, worker)


def test_api_away_for_good_leaves_the_run_to_the_next_runner(world: World) -> None:
    """Recording the result fails: the run is resumed from the provider's run id, not bought again."""

    def away(exchange: Exchange) -> None:
        if b'"output_payload"' in exchange.body:
            raise Cut

    run_id = world.queue_run([ICP], CONTEXT)
    with start_proxy(world.url, away) as url:
        first = world.start_worker(DATA_ENGINE_API_URL=url)
        first.wait_for_line("trying again")
        first.popen.terminate()
        assert first.wait_for_exit() == 0
    assert world.select_run(run_id)["status"] == "running"
    world.expire_lease(run_id)
    assert_done(world, run_id, world.run_worker())
    assert (
        world.select_steps(run_id)[0]["output_payload"]["operation_result"]["provider_attempts"][0]["action"]
        == "resumed"
    )


def test_a_run_that_cannot_be_recorded_is_not_tried_again_at_once(world: World) -> None:
    """Something before the API refuses the result. A runner that took the run up each second would ask for ever."""

    def refuse(exchange: Exchange) -> Any:
        is_result = b'"output_payload"' in exchange.body and b"refused.example" in exchange.body
        return (403, "text/html", b"<html>Forbidden</html>") if is_result else None

    refused = world.queue_run([ICP], {**CONTEXT, "domain": "refused.example.com"})
    other = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    worker = run_through_proxy(world, refuse)
    assert worker.popen.returncode == 1 and "answered 403: text/html instead of JSON" in format_warnings(worker)
    assert worker.text.count("Run left to be taken up again") == 1, worker.text
    assert world.select_run(other)["status"] == "succeeded"
    world.expire_lease(refused)
    assert world.run_worker().popen.returncode == 0
    assert world.select_run(refused)["status"] == "succeeded" and len(world.fetch_orders(refused)) == 1


def test_several_runners_side_by_side_take_every_run_once(world: World) -> None:
    runs = [world.queue_run([ICP], {**CONTEXT, "domain": f"company-{index}.example.com"}) for index in range(9)]
    workers = [world.start_worker("--concurrency", "2") for _ in range(3)]
    for worker in workers:
        assert worker.wait_for_exit() == 0, worker.text
    for run_id in runs:
        assert world.select_run(run_id)["status"] == "succeeded"
        assert len(world.fetch_orders(run_id)) == 1
    assert len(world.select_rows("icp_job_titles")) == 9
    assert sum(worker.text.count('"Run succeeded"') for worker in workers) == 9


def test_a_runner_that_lost_its_run_stops_without_touching_it(world: World) -> None:
    run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:forever]"})
    worker = world.start_worker("--lease", "1")
    worker.wait_for_line("Step started")
    while world.select_steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    world.execute(
        "update pipeline_runs set lease_token = gen_random_uuid(), lease_expires_at = now() + '1h' where id = %s",
        (run_id,),
    )
    assert worker.wait_for_exit() == 1
    assert "another runner holds this run" in format_warnings(worker)
    assert [step["status"] for step in world.select_steps(run_id)] == ["running"]


def test_sigterm_gives_the_run_back(world: World) -> None:
    run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    first = world.start_worker()
    first.wait_for_line("Step started")
    while world.select_steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    first.popen.terminate()
    assert first.wait_for_exit() == 0
    assert world.select_value(
        "select lease_expires_at < now() + interval '2 seconds' from pipeline_runs where id = %s", (run_id,)
    )
    world.expire_lease(run_id)
    assert_done(world, run_id, world.run_worker())


def test_killed_while_the_provider_is_away_it_is_bought_by_the_next_runner(world: World) -> None:
    """Refused, the request certainly was not accepted: nothing about the step says that it may have been paid."""
    run_id = world.queue_run([ICP], CONTEXT)
    first = world.start_worker(PARALLEL_BASE_URL=f"http://127.0.0.1:{find_free_port()}")
    first.wait_for_line("ECONNREFUSED; nothing was bought, trying again")
    first.kill()
    world.expire_lease(run_id)
    assert_done(world, run_id, world.run_worker())


def test_an_order_that_is_taken_back_late_is_not_a_later_one(world: World) -> None:
    """The first order is refused; its withdrawal arrives once more while the second one is under way, as a copy may."""
    withdrawals: list[Exchange] = []
    placements: list[Exchange] = []
    kept: list[list[str]] = []

    def again(exchange: Exchange) -> None:
        if exchange.answer is not None:
            return
        if exchange.path.endswith("/place"):
            placements.append(exchange)
        if exchange.path.endswith("/not-accepted"):
            withdrawals.append(exchange)
        if exchange.path.endswith("/accepted"):
            for late in (withdrawals[0], placements[0]):
                HTTP.post(f"{world.url}{late.path}", content=late.body, headers=late.headers).raise_for_status()
            kept.append([order["status"] for order in world.select_orders()])

    run_id = world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:busy]"})
    worker = run_through_proxy(world, again)
    assert kept == [["not_accepted", "requested"]], "whoever came next would have bought it again"
    assert_done(world, run_id, worker)


def test_a_failed_step_ends_the_run_and_skips_the_rest(world: World) -> None:
    run_id = world.queue_run([ICP, COMPANY, PERSON], {**CONTEXT, "description": "[recorded:cancelled]"})
    worker = world.run_worker()
    assert worker.popen.returncode == 1, "a run failed"
    steps = world.select_steps(run_id)
    assert [step["status"] for step in steps] == ["failed", "skipped", "skipped"]
    assert "was cancelled at the provider" in steps[0]["error_message"]
    assert steps[0]["error_details"]["code"] == "provider_cancelled"
    assert steps[0]["output_payload"]["operation_result"]["status"] == "failed"
    run = world.select_run(run_id)
    assert (run["status"], run["error_message"]) == ("failed", steps[0]["error_message"])
    assert world.select_value("select status from submissions where id = %s", (run["submission_id"],)) == "failed"
    assert len(world.fetch_orders(run_id)) == 1 and world.select_rows("icp_job_titles") == []


def test_nothing_found_is_no_failure(world: World) -> None:
    run_id = world.queue_run([ICP, PERSON], {**CONTEXT, "company_description": "[recorded:empty]"})
    worker = world.run_worker()
    assert worker.list_warnings() == []
    steps = world.select_steps(run_id)
    assert [(step["status"], step["result_status"]) for step in steps] == [
        ("succeeded", "not_found"),
        ("succeeded", "found"),
    ]
    assert (len(world.select_rows("icp_job_titles")), len(world.select_rows("person_intel_briefings"))) == (0, 1)


def test_an_operation_nobody_knows_fails_the_run_with_the_known_ones(world: World) -> None:
    run_id = world.queue_run(["company.derive.horoscope"], CONTEXT)
    world.run_worker()
    message = world.select_run(run_id)["error_message"]
    assert "`company.derive.horoscope`" in message and f"`{ICP}`" in message


def test_a_run_without_steps_on_record_fails_and_says_so(world: World) -> None:
    run_id = world.queue_run([ICP], CONTEXT)
    world.execute("delete from step_results where pipeline_run_id = %s", (run_id,))
    world.run_worker()
    assert world.select_run(run_id)["error_message"] == "step 1 has no step result"


def test_text_and_array_bodies_are_stored(world: World) -> None:
    for kind in ("text", "array"):
        world.queue_run(
            [ICP], {**CONTEXT, "domain": f"{kind}.example.com", "company_description": f"[recorded:{kind}]"}
        )
    assert world.run_worker().list_warnings() == []
    bodies = {row["company_domain"]: row["raw_parallel_output"] for row in world.select_rows("icp_job_titles")}
    assert isinstance(bodies["text.example.com"], str)
    assert isinstance(bodies["array.example.com"], list)


def test_a_result_too_large_to_record_fails_the_step_and_names_the_research(world: World) -> None:
    def refuse(exchange: Exchange) -> Any:
        large = exchange.answer is None and b'"operation_result"' in exchange.body
        return (413, "application/json", b'{"error": "the body is too large", "code": "too_large"}') if large else None

    run_id = world.queue_run([ICP], CONTEXT)
    run_through_proxy(world, refuse)
    (step,) = world.select_steps(run_id)
    assert step["status"] == "failed" and step["provider_run_id"]
    assert "cannot be recorded" in step["error_message"] and "413" in step["error_message"]
