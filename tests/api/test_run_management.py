"""Runs can be canceled, taken up again and set aside: those of the local runner and those of Trigger.dev."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.api.loopback import Api, bearer_headers, internal_headers, read_data, read_error, session_jwt
from tests.api.test_orders import accept_order, end_order, place_order
from tests.api.trigger_desk import Trigger

PATH = "/api/v1/submissions"
ICP = {"operation_id": "company.derive.icp_job_titles"}
PERSON = {"operation_id": "person.derive.intel_briefing"}
CLAIM = {"worker": "w", "lease_seconds": 60}
Start = Callable[..., AbstractContextManager[Api]]


def submit(api: Api, org: str, runs: int = 1) -> Any:
    body = {"steps": [ICP, PERSON], "inputs": [{"n": n} for n in range(runs)]}
    return read_data(api.post(PATH, body, headers=internal_headers(org)))


def change(api: Api, org: str, submission: Any, verb: str) -> Any:
    return api.post(f"{PATH}/{submission['id']}/{verb}", headers=internal_headers(org))


def claim_run(api: Api, org: str) -> Any:
    return read_data(api.call_runner("pipeline-runs/claim", CLAIM, **{"x-internal-org-id": org}))


def start_first_step(api: Api, run: Any) -> str:
    """Start the first step of a claimed run; return its id."""
    step = api.fetch_value(
        "select id::text from step_results where pipeline_run_id = %s and step_position = 1", [run["id"]]
    )
    body = {"step_result_id": step, "status": "running", "input_payload": {}, "lease_token": run["lease_token"]}
    read_data(api.call_runner("step-results/update", body))
    return str(step)


def list_states(submission: Any) -> list[tuple[str, list[str]]]:
    return [(run["status"], [step["status"] for step in run["step_results"]]) for run in submission["pipeline_runs"]]


class TestCancel:
    def test_what_has_not_ended_ends_and_the_rest_stays(self, api: Api, org: str) -> None:
        made = submit(api, org, 3)
        first, second = claim_run(api, org), claim_run(api, org)
        done = {"pipeline_run_id": first["id"], "status": "succeeded", "lease_token": first["lease_token"]}
        read_data(api.call_runner("pipeline-runs/update-status", done))
        start_first_step(api, second)
        answer = change(api, org, made, "cancel")
        assert answer.json()["meta"]["canceled"] == 2
        canceled = read_data(answer)
        assert list_states(canceled) == [
            ("succeeded", ["queued", "queued"]),
            ("canceled", ["failed", "skipped"]),
            ("canceled", ["skipped", "skipped"]),
        ]
        again = change(api, org, made, "cancel")
        assert (again.status_code, again.json()["meta"]["canceled"]) == (200, 0)

    def test_its_runner_orders_nothing_more_and_cannot_bring_it_back(self, api: Api, org: str) -> None:
        made = submit(api, org)
        run = claim_run(api, org)
        step = start_first_step(api, run)
        assert read_data(change(api, org, made, "cancel"))["status"] == "canceled"
        lease = {"lease_token": run["lease_token"]}
        question = {"operation": ICP["operation_id"], "provider": "parallel", "processor": "pro", "question": "0" * 64}
        asked = api.call_runner("research-orders/place", {"step_result_id": step, "holder": "h", **question, **lease})
        read_error(asked, 409, "lost_lease")
        for status in ("running", "succeeded", "failed", "queued"):
            for extra in (lease, {}):
                change_run = {"pipeline_run_id": run["id"], "status": status, **extra}
                read_error(api.call_runner("pipeline-runs/update-status", change_run), 409, "lost_lease")
        beat = {"pipeline_run_id": run["id"], **lease}
        read_error(api.call_runner("pipeline-runs/heartbeat", beat), 409, "lost_lease")
        assert claim_run(api, org) is None
        assert api.fetch_value("select count(*) from research_orders where org_id = %s", [org]) == 0

    def test_what_is_ordered_is_collected_all_the_same(self, api: Api, org: str) -> None:
        made = submit(api, org)
        step = start_first_step(api, claim_run(api, org))
        order = place_order(api, step)["order"]
        accept_order(api, order["id"])
        change(api, org, made, "cancel")
        (listed,) = read_data(
            api.call_runner("research-orders/collectable", {"held_too": True, "order_id": order["id"]})
        )
        assert (listed["id"], listed["is_executed"]) == (order["id"], False)
        end_order(api, order["id"], {"a": 1})
        output = {"parallel_raw_response": {"a": 1}, "domain": "a.com"}
        payload = {"operation_result": {"status": "found", "output": output}, "cumulative_context": output}
        body = {"order_id": order["id"], "status": "succeeded", "output_payload": payload}
        read_data(api.call_runner("research-orders/settle", body))
        found = read_data(api.client.get(f"{PATH}/{made['id']}", headers=internal_headers(org)))
        assert list_states(found) == [("canceled", ["succeeded", "skipped"])]


class TestRetry:
    def test_failed_and_canceled_runs_are_queued_again(self, api: Api, org: str) -> None:
        made = submit(api, org, 2)
        run = claim_run(api, org)
        step = start_first_step(api, run)
        failed = {"step_result_id": step, "status": "failed", "error_message": "it broke"}
        read_data(api.call_runner("step-results/update", {**failed, "lease_token": run["lease_token"]}))
        ended = {"pipeline_run_id": run["id"], "status": "failed", "error_message": "it broke"}
        read_data(api.call_runner("pipeline-runs/update-status", {**ended, "lease_token": run["lease_token"]}))
        change(api, org, made, "cancel")
        answer = change(api, org, made, "retry")
        retried = read_data(answer)
        assert answer.json()["meta"]["queued"] == 2
        assert (retried["status"], list_states(retried)) == ("queued", [("queued", ["queued", "queued"])] * 2)
        assert retried["pipeline_runs"][0]["error_message"] is None
        assert {claim_run(api, org)["id"] for _ in range(2)} == {one["id"] for one in made["pipeline_runs"]}

    def test_what_succeeded_keeps_its_result_and_what_was_bought_its_order(self, api: Api, org: str) -> None:
        made = submit(api, org)
        run = claim_run(api, org)
        step = start_first_step(api, run)
        order = place_order(api, step, lease_token=run["lease_token"])["order"]
        accept_order(api, order["id"])
        for path, body in (
            ("step-results/update", {"step_result_id": step, "status": "failed", "error_message": "timed out"}),
            ("pipeline-runs/update-status", {"pipeline_run_id": run["id"], "status": "failed"}),
        ):
            read_data(api.call_runner(path, {**body, "lease_token": run["lease_token"]}))
        change(api, org, made, "retry")
        again = claim_run(api, org)
        taken = place_order(api, step, "2", lease_token=again["lease_token"])
        assert (taken["action"], taken["order"]["id"]) == ("poll", order["id"])

    def test_a_run_at_work_or_done_is_left_alone(self, api: Api, org: str) -> None:
        made = submit(api, org)
        assert change(api, org, made, "retry").json()["meta"]["queued"] == 0
        claim_run(api, org)
        assert change(api, org, made, "retry").json()["meta"]["queued"] == 0
        api.execute("update pipeline_runs set lease_expires_at = now() - interval '1 s' where org_id = %s", [org])
        assert change(api, org, made, "retry").json()["meta"]["queued"] == 1

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    def test_of_another_organisation_or_company_is_404(self, api: Api, org: str, verb: str) -> None:
        made = submit(api, org)
        for headers in (
            internal_headers(api.insert_organisation()),
            bearer_headers(session_jwt(org, role="company_admin", company_id=str(uuid.uuid4()))),
        ):
            read_error(api.post(f"{PATH}/{made['id']}/{verb}", headers=headers), 404, "not_found")
        read_error(api.post(f"{PATH}/{uuid.uuid4()}/{verb}", headers=internal_headers(org)), 404, "not_found")
        assert api.post(f"{PATH}/x/{verb}", headers=internal_headers(org)).status_code == 422
        assert list_states(read_data(api.client.get(f"{PATH}/{made['id']}", headers=internal_headers(org)))) == [
            ("queued", ["queued", "queued"])
        ]


class TestAttempts:
    @pytest.fixture
    def strict(self, start: Start) -> Iterator[Api]:
        with start(max_run_attempts=3) as api:
            yield api

    def test_a_run_that_throws_again_and_again_is_set_aside_with_its_error(self, strict: Api) -> None:
        org = strict.insert_organisation()
        made = submit(strict, org)
        for _ in range(3):
            run = claim_run(strict, org)
            start_first_step(strict, run)
            left = {"pipeline_run_id": run["id"], "lease_token": run["lease_token"], "error_message": "it throws"}
            read_data(strict.call_runner("pipeline-runs/heartbeat", left))
            strict.execute("update pipeline_runs set lease_expires_at = now() - interval '1 s'")
        assert claim_run(strict, org) is None
        found = read_data(strict.client.get(f"{PATH}/{made['id']}", headers=internal_headers(org)))
        assert (found["status"], list_states(found)) == ("failed", [("failed", ["failed", "skipped"])])
        assert found["pipeline_runs"][0]["error_message"] == "set aside after 3 attempts: it throws"
        change(strict, org, made, "retry")
        assert claim_run(strict, org)["id"] == run["id"], "a person may start it again"

    def test_an_attempt_that_was_given_back_does_not_count(self, strict: Api) -> None:
        org = strict.insert_organisation()
        submit(strict, org)
        for _ in range(5):
            run = claim_run(strict, org)
            beat = {"pipeline_run_id": run["id"], "lease_token": run["lease_token"], "lease_seconds": 1}
            read_data(strict.call_runner("pipeline-runs/heartbeat", {**beat, "released": True}))
            strict.execute("update pipeline_runs set lease_expires_at = now() - interval '1 s'")


class TestTrigger:
    @pytest.fixture
    def api(self, start: Start, trigger: Trigger) -> Iterator[Api]:
        with start(trigger_secret_key="tr_dev_secret", trigger_api_url=trigger.url, max_run_attempts=3) as api:
            yield api

    def start_again(self, start: Start, trigger: Trigger) -> AbstractContextManager[Api]:
        """Start another process of the API, which looks for lost runs at once."""
        return start(trigger_secret_key="tr_dev_secret", trigger_api_url=trigger.url, max_run_attempts=3)

    def test_a_canceled_run_is_canceled_there_too(self, api: Api, org: str, trigger: Trigger) -> None:
        made = submit(api, org)
        (run,) = made["pipeline_runs"]
        assert read_data(change(api, org, made, "cancel"))["status"] == "canceled"
        assert trigger.asked[-1][0] == f"/api/v2/runs/run_{run['id']}/cancel"

    def test_a_retried_run_is_handed_over_under_a_key_of_its_own(self, api: Api, org: str, trigger: Trigger) -> None:
        made = submit(api, org)
        (run,) = made["pipeline_runs"]
        for number in (1, 2):
            change(api, org, made, "cancel")
            assert change(api, org, made, "retry").json()["meta"]["dispatched"] == 1
            assert trigger.list_keys()[-1] == f"{run['id']}:{number}"
        noted = api.fetch_value("select trigger_run_id from pipeline_runs where id = %s", [run["id"]])
        assert noted == f"run_{run['id']}:2"

    def test_a_run_whose_executor_died_is_handed_over_again(
        self, api: Api, org: str, trigger: Trigger, start: Start
    ) -> None:
        (run,) = submit(api, org)["pipeline_runs"]
        body = {"pipeline_run_id": run["id"], "status": "running", "trigger_run_id": f"run_{run['id']}"}
        read_data(api.call_runner("pipeline-runs/update-status", body))
        for number in (1, 2, 3):
            self.age_runs(api)
            with self.start_again(start, trigger):
                self.wait_for(api, "select restarts from pipeline_runs", number)
                self.wait_for(api, "select trigger_run_id from pipeline_runs", f"run_{run['id']}:{number}")
            assert trigger.list_keys()[-1] == f"{run['id']}:{number}"
            read_data(
                api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run["id"], "status": "running"})
            )
        self.age_runs(api)
        with self.start_again(start, trigger):
            self.wait_for(api, "select status from pipeline_runs", "failed")
        assert "set aside after 3 attempts" in api.fetch_value("select error_message from pipeline_runs")
        assert api.fetch_value("select status from submissions") == "failed"

    def test_a_run_that_lives_is_not(self, api: Api, org: str, trigger: Trigger, start: Start) -> None:
        (run,) = submit(api, org)["pipeline_runs"]
        read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run["id"], "status": "running"}))
        trigger.answers = [(401, {}, b"")]
        left = submit(api, org)["pipeline_runs"][0]
        self.age_runs(api, "3 minutes")
        with self.start_again(start, trigger):
            self.wait_for(
                api, f"select trigger_run_id from pipeline_runs where id = '{left['id']}'", f"run_{left['id']}"
            )
        assert trigger.list_keys() == [run["id"], left["id"], left["id"]], "what was not taken is offered again"

    def age_runs(self, api: Api, age: str = "2 hours") -> None:
        """Make the runs look as if nothing had been heard of them for some time."""
        api.execute("alter table pipeline_runs disable trigger user")
        api.execute("update pipeline_runs set updated_at = now() - %s::interval", [age])
        api.execute("alter table pipeline_runs enable trigger user")

    def wait_for(self, api: Api, query: str, value: Any) -> None:
        deadline = time.monotonic() + 20
        while api.fetch_value(query) != value:
            assert time.monotonic() < deadline, f"{query}: {api.fetch_value(query)}"
            time.sleep(0.05)
