"""Starting work is safe: who may, what it may cost, how often a request counts, and how much may be queued."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from tests.api.loopback import Api, bearer_headers, internal_headers, read_data, read_error, session_jwt
from tests.api.trigger_desk import Trigger

PATH = "/api/v1/submissions"
ICP = {"operation_id": "company.derive.icp_job_titles"}
PERSON = {"operation_id": "person.derive.intel_briefing"}
BODY: dict[str, Any] = {"steps": [ICP], "inputs": [{"domain": "a.com"}]}


def count_submissions(api: Api, org: str) -> int:
    return int(api.fetch_value("select count(*) from submissions where org_id = %s", [org]))


class TestRoles:
    @pytest.mark.parametrize(("role", "status"), [("org_admin", 200), ("company_admin", 200), ("member", 403)])
    def test_who_may_spend(self, api: Api, org: str, role: str, status: int) -> None:
        made = read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        for bearer in (session_jwt(org, role=role), api.insert_token(org, role=role)):
            headers = bearer_headers(bearer)
            calls = [
                api.post(PATH, BODY, headers=headers),
                api.post(PATH, {**BODY, "dry_run": True}, headers=headers),
                api.post(f"{PATH}/{made['id']}/cancel", headers=headers),
                api.post(f"{PATH}/{made['id']}/retry", headers=headers),
            ]
            assert [call.status_code for call in calls] == [status] * 4
            if status == 403:
                assert read_error(calls[0], 403, "may_not_spend")["error"].count(role) == 1
            assert api.client.get(f"{PATH}/{made['id']}", headers=headers).status_code == 200, "reading costs nothing"

    @pytest.mark.parametrize("role", [None, "auditor", "ORG_ADMIN"])
    def test_a_session_without_a_role_or_with_another_may_not(self, api: Api, org: str, role: str | None) -> None:
        answer = api.post(PATH, BODY, headers=bearer_headers(session_jwt(org, role=role)))
        read_error(answer, 403, "may_not_spend")


class TestSteps:
    def test_an_operation_without_research_is_refused_with_the_known_ones(self, api: Api, org: str) -> None:
        steps = [ICP, {"operation_id": "company.derive.horoscope"}]
        error = read_error(
            api.post(PATH, {**BODY, "steps": steps}, headers=internal_headers(org)), 422, "unknown_operation"
        )
        assert error["error"] == "step 2: no spec says how `company.derive.horoscope` is executed"
        for known in (ICP, PERSON):
            assert f"`{known['operation_id']}`" in error["hint"]
        assert count_submissions(api, org) == 0

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({"procesor": "pro"}, "`step_config` has no key `procesor`"),
            ({"processor": ""}, "`step_config.processor` is not the name of a processor"),
            ({"processor": 5}, "`step_config.processor` is not the name of a processor"),
            ({"timeout_seconds": 0}, "`step_config.timeout_seconds` is not a number above 0"),
            ({"timeout_seconds": "60"}, "`step_config.timeout_seconds` is not a number above 0"),
            ({"timeout_seconds": True}, "`step_config.timeout_seconds` is not a number above 0"),
            ({"refresh": "yes"}, "`step_config.refresh` is not true or false"),
        ],
    )
    def test_a_wrong_step_config_is_refused(self, api: Api, org: str, config: dict[str, Any], said: str) -> None:
        steps = [{**ICP, "step_config": config}]
        answer = api.post(PATH, {**BODY, "steps": steps}, headers=internal_headers(org))
        assert said in read_error(answer, 422, "invalid_step_config")["error"]
        assert count_submissions(api, org) == 0

    def test_every_key_there_is_is_taken(self, api: Api, org: str) -> None:
        config = {"processor": "core", "timeout_seconds": 90.5, "refresh": True}
        read_data(api.post(PATH, {**BODY, "steps": [{**ICP, "step_config": config}]}, headers=internal_headers(org)))


class TestCost:
    def test_what_it_may_cost_is_said_and_a_dry_run_queues_nothing(self, api: Api, org: str) -> None:
        steps = [{**ICP, "step_config": {"processor": "core"}}, PERSON]
        body = {"steps": steps, "inputs": [{"n": n} for n in range(3)]}
        dry = read_data(api.post(PATH, {**body, "dry_run": True}, headers=internal_headers(org)))
        assert dry == {"dry_run": True, "runs": 3, "steps": 6, "max_cost": "0.375", "unpriced_processors": []}
        assert count_submissions(api, org) == 0
        made = api.post(PATH, body, headers=internal_headers(org))
        assert (made.json()["meta"]["max_cost"], count_submissions(api, org)) == ("0.375", 1)

    def test_without_a_price_nobody_can_say(self, api: Api, org: str) -> None:
        steps = [{**ICP, "step_config": {"processor": "hyper"}}]
        dry = read_data(api.post(PATH, {**BODY, "steps": steps, "dry_run": True}, headers=internal_headers(org)))
        assert (dry["max_cost"], dry["unpriced_processors"]) == (None, ["hyper"])


class TestIdempotency:
    def submit(self, api: Api, org: str, key: str, body: Any = BODY) -> httpx.Response:
        return api.post(PATH, body, headers={**internal_headers(org), "idempotency-key": key})

    def test_a_request_sent_again_gets_the_first_submission(self, api: Api, org: str) -> None:
        key = str(uuid.uuid4())
        first, second = self.submit(api, org, key), self.submit(api, org, key)
        assert (first.json()["meta"]["replayed"], second.json()["meta"]["replayed"]) == (False, True)
        assert read_data(first)["id"] == read_data(second)["id"]
        assert [run["id"] for run in read_data(first)["pipeline_runs"]] == [
            run["id"] for run in read_data(second)["pipeline_runs"]
        ]
        assert count_submissions(api, org) == 1

    def test_at_the_same_moment_too(self, api: Api, org: str) -> None:
        key = str(uuid.uuid4())
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: self.submit(api, org, key), range(8)))
        assert len({read_data(answer)["id"] for answer in answers}) == 1
        assert sorted(answer.json()["meta"]["replayed"] for answer in answers) == [False] + [True] * 7
        assert count_submissions(api, org) == 1

    def test_another_body_under_the_same_key_is_422(self, api: Api, org: str) -> None:
        key = str(uuid.uuid4())
        read_data(self.submit(api, org, key))
        other = self.submit(api, org, key, {**BODY, "inputs": [{"domain": "b.com"}]})
        read_error(other, 422, "idempotency_key_reused")
        assert count_submissions(api, org) == 1

    def test_another_organisation_has_keys_of_its_own(self, api: Api, org: str) -> None:
        key, other = str(uuid.uuid4()), api.insert_organisation()
        assert read_data(self.submit(api, org, key))["id"] != read_data(self.submit(api, other, key))["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_a_key_that_is_none_is_400(self, api: Api, org: str, key: str) -> None:
        read_error(self.submit(api, org, key), 400, "invalid_header")
        assert count_submissions(api, org) == 0

    def test_a_refused_request_leaves_its_key_free(self, api: Api, org: str) -> None:
        key = str(uuid.uuid4())
        read_error(self.submit(api, org, key, {**BODY, "company_id": str(uuid.uuid4())}), 403, "other_organisation")
        assert self.submit(api, org, key).json()["meta"]["replayed"] is False


class TestQueueLimit:
    @pytest.fixture
    def small(self, start: Callable[..., AbstractContextManager[Api]]) -> Iterator[Api]:
        with start(max_queued_steps=6) as api:
            yield api

    def submit(self, api: Api, org: str, runs: int) -> httpx.Response:
        return api.post(PATH, {**BODY, "inputs": [{"n": n} for n in range(runs)]}, headers=internal_headers(org))

    def test_an_organisation_queues_so_many_steps_and_no_more(self, small: Api) -> None:
        org, other = small.insert_organisation(), small.insert_organisation()
        read_data(self.submit(small, org, 4))
        error = read_error(self.submit(small, org, 3), 429, "too_many_queued_steps")
        assert "4 step(s) of the organisation are queued, and 3 more would" in error["error"]
        read_data(self.submit(small, org, 2))
        read_error(self.submit(small, org, 1), 429, "too_many_queued_steps")
        read_data(self.submit(small, other, 6))
        small.execute("update step_results set status = 'succeeded' where org_id = %s", [org])
        read_data(self.submit(small, org, 6))

    def test_requests_at_the_same_moment_do_not_pass_it_together(self, small: Api) -> None:
        org = small.insert_organisation()
        gate = threading.Barrier(8)

        def submit_at_once(_: int) -> int:
            gate.wait()
            return self.submit(small, org, 2).status_code

        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(submit_at_once, range(8)))
        assert sorted(statuses) == [200] * 3 + [429] * 5


class TestTrigger:
    def test_a_request_sent_again_offers_what_was_not_taken(
        self, start: Callable[..., AbstractContextManager[Api]], trigger: Trigger
    ) -> None:
        with start(trigger_secret_key="tr_dev_secret", trigger_api_url=trigger.url) as api:
            headers = {**internal_headers(api.insert_organisation()), "idempotency-key": "one"}
            trigger.answers = [(401, {}, b"")]
            first = api.post(PATH, BODY, headers=headers)
            second, third = (api.post(PATH, BODY, headers=headers).json()["meta"] for _ in range(2))
            (run,) = read_data(first)["pipeline_runs"]
        assert first.json()["meta"]["dispatched"] == 0
        assert [(meta["replayed"], meta["dispatched"]) for meta in (second, third)] == [(True, 1), (True, 0)]
        assert trigger.list_keys() == [run["id"]] * 2


def test_the_start_says_who_may_spend_without_bound(
    start: Callable[..., AbstractContextManager[Api]], capfd: pytest.CaptureFixture[str]
) -> None:
    with start() as api:
        orgs = [api.insert_organisation() for _ in range(3)]
    api.execute("insert into budgets (org_id, usd) values (%s, 5)", [orgs[0]])
    capfd.readouterr()
    with start() as api:
        read_data(api.client.get("/readyz"))
        said, deadline = "", time.monotonic() + 20
        while "no budget" not in said and time.monotonic() < deadline:
            said += "".join(capfd.readouterr())
            time.sleep(0.05)
    assert '"organisations":2' in said.replace(" ", ""), said
