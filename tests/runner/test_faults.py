"""What can go wrong between runner, API and provider: nothing lost, nothing doubled, every warning says what."""

import threading
from typing import Any

import httpx

from tests.runner.conftest import COMPANY, ICP, PERSON, Process, World, free_port
from tests.runner.proxy import Cut, Exchange, proxy
from tests.runner.test_kill import CONTEXT


def through(world: World, hook: Any, *arguments: str) -> Process:
    """Run a worker to its end with a hook between it and the API."""
    with proxy(world.url, hook) as url:
        return world.work(*arguments, DATA_ENGINE_API_URL=url)


def said(worker: Process) -> str:
    return "\n".join(f"{line['message']} {line.get('error', '')}" for line in worker.warnings())


def assert_done(world: World, run_id: str, worker: Process) -> None:
    """The run succeeded, its research was bought once, and its row is there."""
    assert world.run_row(run_id)["status"] == "succeeded", worker.text
    assert len(world.orders(run_id)) == 1
    assert len(world.rows("icp_job_titles")) == 1, worker.text
    (account,) = world.coverage()
    assert account["found"] == account["written"] + account["unchanged"] == 1, account


def test_wrong_key(world: World) -> None:
    run_id = world.queue([ICP], CONTEXT)
    worker = world.work(DATA_ENGINE_INTERNAL_API_KEY="another-key")
    assert worker.popen.returncode == 1
    assert "401" in said(worker)
    assert world.run_row(run_id)["status"] == "queued"


def test_a_missing_setting_stops_the_start_with_its_name(world: World) -> None:
    for name in ("DATA_ENGINE_API_URL", "DATA_ENGINE_INTERNAL_API_KEY", "PARALLEL_API_KEY"):
        worker = world.work(**{name: ""})
        assert worker.popen.returncode == 2
        assert name in said(worker)


def test_missing_organisation_header_is_warned_of_and_repaired(world: World) -> None:
    """The incident: for 22 days every persist call went out like this."""

    def strip(exchange: Exchange) -> None:
        if exchange.path.endswith("/upsert"):
            exchange.headers.pop("x-internal-org-id", None)

    run_id = world.queue([ICP], CONTEXT)
    worker = through(world, strip)
    assert "Failed to persist ICP job titles to dedicated table" in said(worker)
    assert "401" in said(worker)
    assert_done(world, run_id, worker)
    assert world.coverage()[0]["written"] == 1  # by the repair


def test_unknown_spec_is_warned_of_and_repaired(world: World) -> None:
    """The runner is deployed before the API: its endpoint is not there yet."""

    def unknown(exchange: Exchange) -> Any:
        return (
            (404, "application/json", b'{"error": "no such endpoint"}') if exchange.path.endswith("/upsert") else None
        )

    run_id = world.queue([ICP], CONTEXT)
    worker = through(world, unknown)
    assert "404" in said(worker)
    assert_done(world, run_id, worker)


def test_a_value_the_engine_refuses_is_named_and_stays_on_record(world: World) -> None:
    run_id = world.queue([ICP], {**CONTEXT, "domain": "not a domain"})
    worker = world.work()
    assert "422" in said(worker) and "`company_domain`" in said(worker)
    assert world.run_row(run_id)["status"] == "succeeded"
    assert world.rows("icp_job_titles") == []
    (account,) = world.coverage()
    assert (account["found"], account["rejected"]) == (1, 1)
    reasons = world.value("select reasons from step_persistence where org_id = %s", (world.org_id,))
    assert reasons[0]["field"] == "company_domain"


def test_a_repair_that_fails_is_warned_of(world: World) -> None:
    """The run is green, and its rows are nowhere: the runner's log has to say so, too."""

    def without_the_ledger(exchange: Exchange) -> None:
        if exchange.path.endswith("update-status") and b'"succeeded"' in exchange.body:
            names = ("step_persistence", "step_persistence_aside")
            names = names if exchange.answer is None else names[::-1]
            world.execute(f"alter table {names[0]} rename to {names[1]}")

    run_id = world.queue([ICP], CONTEXT)
    worker = through(world, without_the_ledger)
    assert world.run_row(run_id)["status"] == "succeeded"
    assert "Persistence is not complete repair_failed: what this run found is pending" in said(worker), worker.text


def test_a_proxys_page_is_no_answer(world: World) -> None:
    pages = iter([True, True])

    def page(exchange: Exchange) -> Any:
        if exchange.answer is None and exchange.path.endswith("/upsert") and next(pages, False):
            return (502, "text/html", b"<html><h1>Bad Gateway</h1></html>")
        return None

    run_id = world.queue([ICP], CONTEXT)
    worker = through(world, page)
    assert "502: text/html instead of JSON; trying again" in said(worker)
    assert_done(world, run_id, worker)


def test_every_answer_lost_once(world: World) -> None:
    """The request is done, its answer cut off: repeated, it must neither fail nor do a thing twice."""
    lost: set[str] = set()

    def cut(exchange: Exchange) -> None:
        what = f"{exchange.path} {exchange.body[:200]!r}"
        if exchange.answer is not None and "/claim" not in what and "/heartbeat" not in what and what not in lost:
            lost.add(what)
            raise Cut

    run_id = world.queue([ICP], CONTEXT)
    worker = through(world, cut)
    assert len(lost) >= 8
    assert_done(world, run_id, worker)


def test_api_restarted_during_a_run(world: World) -> None:
    run_id = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    worker = world.worker()
    worker.hear("Step started")
    while world.steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    world.house.stop_api()
    worker.hear("No run could be claimed")
    worker.hear("trying again")
    waiting = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:empty]"})
    world.house.start_api()
    assert worker.finish() == 0, worker.text
    assert world.run_row(waiting)["status"] == "succeeded", "it went on claiming"
    assert_done(world, run_id, worker)


def test_api_away_for_good_leaves_the_run_to_the_next_runner(world: World) -> None:
    """Recording the result fails: the run is resumed from the provider's run id, not bought again."""

    def away(exchange: Exchange) -> None:
        if b'"output_payload"' in exchange.body:
            raise Cut

    run_id = world.queue([ICP], CONTEXT)
    with proxy(world.url, away) as url:
        first = world.worker(DATA_ENGINE_API_URL=url)
        first.hear("trying again")
        first.popen.terminate()
        assert first.finish() == 0
    assert world.run_row(run_id)["status"] == "running"
    world.expire(run_id)
    assert_done(world, run_id, world.work())
    assert world.steps(run_id)[0]["output_payload"]["operation_result"]["provider_attempts"][0]["action"] == "resumed"


def test_a_run_that_cannot_be_recorded_is_not_tried_again_at_once(world: World) -> None:
    """Something before the API refuses the result. A runner that took the run up each second would ask for ever."""

    def refuse(exchange: Exchange) -> Any:
        is_result = b'"output_payload"' in exchange.body and b"refused.example" in exchange.body
        return (403, "text/html", b"<html>Forbidden</html>") if is_result else None

    refused = world.queue([ICP], {**CONTEXT, "domain": "refused.example.com"})
    other = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    worker = through(world, refuse)
    assert worker.popen.returncode == 1 and "answered 403: text/html instead of JSON" in said(worker)
    assert worker.text.count("Run left to be taken up again") == 1, worker.text
    assert world.run_row(other)["status"] == "succeeded"
    world.expire(refused)
    assert world.work().popen.returncode == 0
    assert world.run_row(refused)["status"] == "succeeded" and len(world.orders(refused)) == 1


def test_several_runners_side_by_side_take_every_run_once(world: World) -> None:
    runs = [world.queue([ICP], {**CONTEXT, "domain": f"company-{index}.example.com"}) for index in range(9)]
    workers = [world.worker("--concurrency", "2") for _ in range(3)]
    for worker in workers:
        assert worker.finish() == 0, worker.text
    for run_id in runs:
        assert world.run_row(run_id)["status"] == "succeeded"
        assert len(world.orders(run_id)) == 1
    assert len(world.rows("icp_job_titles")) == 9
    assert sum(worker.text.count('"Run succeeded"') for worker in workers) == 9


def test_a_runner_that_lost_its_run_stops_without_touching_it(world: World) -> None:
    run_id = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:forever]"})
    worker = world.worker("--lease", "1")
    worker.hear("Step started")
    while world.steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    world.execute(
        "update pipeline_runs set lease_token = gen_random_uuid(), lease_expires_at = now() + '1h' where id = %s",
        (run_id,),
    )
    assert worker.finish() == 1
    assert "another runner holds this run" in said(worker)
    assert [step["status"] for step in world.steps(run_id)] == ["running"]


def test_sigterm_gives_the_run_back(world: World) -> None:
    run_id = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:slow]"})
    first = world.worker()
    first.hear("Step started")
    while world.steps(run_id)[0]["provider_run_id"] is None:
        threading.Event().wait(0.05)
    first.popen.terminate()
    assert first.finish() == 0
    assert world.value(
        "select lease_expires_at < now() + interval '2 seconds' from pipeline_runs where id = %s", (run_id,)
    )
    world.expire(run_id)
    assert_done(world, run_id, world.work())


def test_killed_while_the_provider_is_away_it_is_bought_by_the_next_runner(world: World) -> None:
    """Refused, the request certainly was not accepted: nothing about the step says that it may have been paid."""
    run_id = world.queue([ICP], CONTEXT)
    first = world.worker(PARALLEL_BASE_URL=f"http://127.0.0.1:{free_port()}")
    first.hear("ECONNREFUSED; nothing was bought, trying again")
    first.kill()
    world.expire(run_id)
    assert_done(world, run_id, world.work())


def test_a_note_that_is_taken_back_late_is_not_the_one_of_a_later_order(world: World) -> None:
    """The first order is refused; its withdrawal arrives once more while the second one is under way, as a copy may."""
    withdrawals: list[Exchange] = []
    noted: list[bool] = []

    def again(exchange: Exchange) -> None:
        if exchange.answer is None and b'"provider_request_withdrawn_by"' in exchange.body:
            withdrawals.append(exchange)
        if exchange.answer is None and b'"provider_run_id"' in exchange.body:
            late = withdrawals[0]
            httpx.post(f"{world.url}{late.path}", content=late.body, headers=late.headers).raise_for_status()
            noted.append(world.steps(run_id)[0]["provider_requested_at"] is not None)

    run_id = world.queue([ICP], {**CONTEXT, "company_description": "[recorded:busy]"})
    worker = through(world, again)
    assert noted == [True], "whoever came next would have bought it again"
    assert_done(world, run_id, worker)


def test_a_failed_step_ends_the_run_and_skips_the_rest(world: World) -> None:
    run_id = world.queue([ICP, COMPANY, PERSON], {**CONTEXT, "description": "[recorded:cancelled]"})
    worker = world.work()
    assert worker.popen.returncode == 0, "a run that failed is a run that ended"
    steps = world.steps(run_id)
    assert [step["status"] for step in steps] == ["failed", "skipped", "skipped"]
    assert "was cancelled at the provider" in steps[0]["error_message"]
    assert steps[0]["error_details"]["code"] == "provider_cancelled"
    assert steps[0]["output_payload"]["operation_result"]["status"] == "failed"
    run = world.run_row(run_id)
    assert (run["status"], run["error_message"]) == ("failed", steps[0]["error_message"])
    assert world.value("select status from submissions where id = %s", (run["submission_id"],)) == "failed"
    assert len(world.orders(run_id)) == 1 and world.rows("icp_job_titles") == []


def test_nothing_found_is_no_failure(world: World) -> None:
    run_id = world.queue([ICP, PERSON], {**CONTEXT, "company_description": "[recorded:empty]"})
    worker = world.work()
    assert worker.warnings() == []
    steps = world.steps(run_id)
    assert [(step["status"], step["result_status"]) for step in steps] == [
        ("succeeded", "not_found"),
        ("succeeded", "found"),
    ]
    assert (len(world.rows("icp_job_titles")), len(world.rows("person_intel_briefings"))) == (0, 1)


def test_an_operation_nobody_knows_fails_the_run_with_the_known_ones(world: World) -> None:
    run_id = world.queue(["company.derive.horoscope"], CONTEXT)
    world.work()
    message = world.run_row(run_id)["error_message"]
    assert "`company.derive.horoscope`" in message and f"`{ICP}`" in message


def test_a_run_without_steps_on_record_fails_and_says_so(world: World) -> None:
    run_id = world.queue([ICP], CONTEXT)
    world.execute("delete from step_results where pipeline_run_id = %s", (run_id,))
    world.work()
    assert world.run_row(run_id)["error_message"] == "step 1 has no step result"


def test_text_and_array_bodies_are_stored(world: World) -> None:
    for kind in ("text", "array"):
        world.queue([ICP], {**CONTEXT, "domain": f"{kind}.example.com", "company_description": f"[recorded:{kind}]"})
    assert world.work().warnings() == []
    bodies = {row["company_domain"]: row["raw_parallel_output"] for row in world.rows("icp_job_titles")}
    assert isinstance(bodies["text.example.com"], str)
    assert isinstance(bodies["array.example.com"], list)


def test_a_result_too_large_to_record_fails_the_step_and_names_the_research(world: World) -> None:
    def refuse(exchange: Exchange) -> Any:
        large = exchange.answer is None and b'"operation_result"' in exchange.body
        return (413, "application/json", b'{"error": "the body is too large", "code": "too_large"}') if large else None

    run_id = world.queue([ICP], CONTEXT)
    through(world, refuse)
    (step,) = world.steps(run_id)
    assert step["status"] == "failed" and step["provider_run_id"]
    assert "cannot be recorded" in step["error_message"] and "413" in step["error_message"]
