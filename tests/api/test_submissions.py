"""Starting work, with and without Trigger.dev."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from api.settings import Limits
from tests.api.loopback import Api, bearer_headers, internal_headers, read_data, run_api, session_jwt
from tests.api.trigger_desk import Trigger, start_trigger
from tests.conftest import create_database

PATH = "/api/v1/submissions"
ICP = {"operation_id": "company.derive.icp_job_titles"}
BODY: dict[str, Any] = {"steps": [ICP], "inputs": [{"domain": "a.com"}]}


class TestLocal:
    def test_a_run_per_input_and_a_step_result_per_step(self, api: Api, org: str) -> None:
        steps = [ICP, {"operation_id": "person.derive.intel_briefing", "step_config": {"processor": "pro"}}]
        inputs = [{"domain": "a.com"}, {"domain": "b.com"}, {"domain": "a.com"}]
        body = {"steps": steps, "inputs": inputs, "source": "test", "metadata": {"who": "me"}}
        answer = api.post(PATH, body, headers=internal_headers(org))
        made = read_data(answer)
        assert answer.json()["meta"] == {
            "runner": "local",
            "replayed": False,
            "runs": 3,
            "steps": 6,
            "max_cost": "0.60",
            "unpriced_processors": [],
        }
        assert (made["org_id"], made["status"], made["source"], made["metadata"]) == (
            org,
            "queued",
            "test",
            {"who": "me"},
        )
        runs = api.execute(
            "select id::text, status, runner, blueprint_snapshot from pipeline_runs"
            " where submission_id = %s order by created_at",
            [made["id"]],
        )
        assert [run[0] for run in runs] == [run["id"] for run in made["pipeline_runs"]]
        for (_, status, runner, snapshot), given in zip(runs, inputs, strict=True):
            assert (status, runner, snapshot["entity"]) == ("queued", "local", {"input": given})
            assert snapshot["steps"] == [
                {"position": 1, "operation_id": ICP["operation_id"], "step_config": {}, "is_enabled": True},
                {
                    "position": 2,
                    "operation_id": "person.derive.intel_briefing",
                    "step_config": {"processor": "pro"},
                    "is_enabled": True,
                },
            ]
        states = api.execute(
            "select step_position, status, org_id::text from step_results where submission_id = %s", [made["id"]]
        )
        assert sorted(states) == sorted([(1, "queued", org), (2, "queued", org)] * 3)

    def test_they_are_claimed_in_the_order_of_the_inputs(self, api: Api, org: str) -> None:
        made = read_data(
            api.post(PATH, {**BODY, "inputs": [{"n": n} for n in range(5)]}, headers=internal_headers(org))
        )
        asked = {"worker": "w", "lease_seconds": 60}
        taken = [
            read_data(api.call_runner("pipeline-runs/claim", asked, **{"x-internal-org-id": org}))["id"]
            for _ in range(5)
        ]
        assert taken == [run["id"] for run in made["pipeline_runs"]]

    def test_numbers_of_an_input_stay_as_they_are(self, api: Api, org: str) -> None:
        body = b'{"steps": [%b], "inputs": [{"n": 1.10, "big": 123456789012345678901234567890}]}'
        body %= json.dumps(ICP).encode()
        made = read_data(api.post(PATH, body, headers=internal_headers(org)))
        text = api.fetch_value(
            "select blueprint_snapshot::text from pipeline_runs where submission_id = %s", [made["id"]]
        )
        assert '"n": 1.10' in text and '"big": 123456789012345678901234567890' in text


class TestCompany:
    def company(self, api: Api, org: str) -> str:
        made = api.fetch_value(
            "insert into companies (org_id, name) values (%s, %s) returning id", [org, str(uuid.uuid4())]
        )
        return str(made)

    def test_of_the_organisation(self, api: Api, org: str) -> None:
        company = self.company(api, org)
        assert (
            read_data(api.post(PATH, {**BODY, "company_id": company}, headers=internal_headers(org)))["company_id"]
            == company
        )
        bound = bearer_headers(session_jwt(org, company_id=company, role="company_admin"))
        assert read_data(api.post(PATH, BODY, headers=bound))["company_id"] == company
        headers = {**internal_headers(org), "x-internal-company-id": company}
        assert read_data(api.post(PATH, BODY, headers=headers))["company_id"] == company

    def test_of_another_one_is_403(self, api: Api, org: str) -> None:
        foreign, own = self.company(api, api.insert_organisation()), self.company(api, org)
        for company in (foreign, str(uuid.uuid4())):
            answer = api.post(PATH, {**BODY, "company_id": company}, headers=internal_headers(org))
            assert (answer.status_code, answer.json()["code"]) == (403, "other_organisation")
        bound = bearer_headers(session_jwt(org, company_id=own, role="company_admin"))
        other = self.company(api, org)
        assert api.post(PATH, {**BODY, "company_id": other}, headers=bound).json()["code"] == "other_company"
        assert api.fetch_value("select count(*) from submissions where org_id = %s", [org]) == 0


def test_a_refusal_leaves_the_pools_connections_whole(api: Api, org: str) -> None:
    """What a transaction block rolls back makes psycopg discard what is prepared; upserts go on."""
    body = {"company_domain": "a.com", "raw_parallel_output": 1}
    for number in range(10):
        refused = api.post(PATH, {**BODY, "company_id": str(uuid.uuid4())}, headers=internal_headers(org))
        assert refused.status_code == 403
        for slug in ("icp-job-titles", "company-intel-briefings"):
            assert api.upsert(slug, {**body, "raw_parallel_output": number}, org).status_code == 200
        assert (
            api.query("icp-job-titles", org, {"fields": ["id", "org_id", "processor"][: number % 3 + 1]}).status_code
            == 200
        )


class TestReading:
    def test_runs_and_steps_without_payloads(self, api: Api, org: str) -> None:
        made = read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        found = read_data(api.client.get(f"{PATH}/{made['id']}", headers=bearer_headers(session_jwt(org))))
        assert found["status"] == "queued"
        (run,) = found["pipeline_runs"]
        (step,) = run["step_results"]
        assert (run["status"], step["status"], step["step_position"]) == ("queued", "queued", 1)
        assert step["operation_id"] == BODY["steps"][0]["operation_id"]
        assert "output_payload" not in step
        assert run["input"] == BODY["inputs"][0]

    def test_a_long_input_is_cut(self, api: Api, org: str) -> None:
        made = read_data(api.post(PATH, {**BODY, "inputs": [{"notes": "x" * 5000}]}, headers=internal_headers(org)))
        (run,) = read_data(api.client.get(f"{PATH}/{made['id']}", headers=internal_headers(org)))["pipeline_runs"]
        assert run["input"].startswith('{"notes": "xxx') and run["input"].endswith("x…") and len(run["input"]) == 2049

    def test_of_another_organisation_or_company_is_404(self, api: Api, org: str) -> None:
        made = read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        for headers in (
            internal_headers(api.insert_organisation()),
            bearer_headers(session_jwt(api.insert_organisation())),
            bearer_headers(session_jwt(org, company_id=str(uuid.uuid4()))),
        ):
            assert api.client.get(f"{PATH}/{made['id']}", headers=headers).status_code == 404
        assert api.client.get(f"{PATH}/{uuid.uuid4()}", headers=internal_headers(org)).status_code == 404
        assert api.client.get(f"{PATH}/x", headers=internal_headers(org)).status_code == 422
        assert api.client.get(f"{PATH}/{made['id']}").status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"steps": []},
        {"steps": [ICP] * 51},
        {"steps": [{}]},
        {"steps": [{"operation_id": ""}]},
        {"steps": [{"operation_id": "a b"}]},
        {"steps": [{"operation_id": "x" * 201}]},
        {"steps": [{**ICP, "step_config": []}]},
        {"steps": [{**ICP, "position": 1}]},
        {"steps": "x"},
        {"inputs": []},
        {"inputs": [{}] * 501},
        {"inputs": ["a.com"]},
        {"inputs": {}},
        {"company_id": "x"},
        {"source": 5},
        {"metadata": []},
        {"org_id": "x"},
        {"input": [{}]},
    ],
)
def test_what_does_not_fit_is_422_and_makes_nothing(api: Api, org: str, change: dict[str, Any]) -> None:
    answer = api.post(PATH, {**BODY, **change}, headers=internal_headers(org))
    assert answer.status_code == 422, answer.text
    assert answer.json()["hint"]
    assert api.fetch_value("select count(*) from submissions where org_id = %s", [org]) == 0


def test_an_organisation_that_does_not_exist_is_404(api: Api) -> None:
    answer = api.post(PATH, BODY, headers=internal_headers(str(uuid.uuid4())))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_organisation")


def test_what_postgres_cannot_store_is_422(api: Api, org: str) -> None:
    for text in (b'"\\u0000"', b'"\\ud800"'):
        body = b'{"steps": [%b], "inputs": [{"a": %b}]}' % (json.dumps(ICP).encode(), text)
        answer = api.post(PATH, body, headers=internal_headers(org))
        assert (answer.status_code, answer.json()["code"]) == (422, "unstorable_text")


@pytest.fixture(scope="module")
def with_trigger(server_dsn: str, template: str) -> Iterator[tuple[Api, Trigger]]:
    """An API that hands its runs to Trigger.dev."""
    with (
        start_trigger() as desk,
        create_database(server_dsn, template) as dsn,
        run_api(dsn, trigger_secret_key="tr_dev_secret", trigger_api_url=desk.url) as api,
    ):
        yield api, desk


class TestTrigger:
    @pytest.fixture
    def api(self, with_trigger: tuple[Api, Trigger]) -> Api:
        return with_trigger[0]

    @pytest.fixture
    def trigger(self, with_trigger: tuple[Api, Trigger]) -> Trigger:
        with_trigger[1].reset_answers()
        return with_trigger[1]

    @pytest.fixture
    def org(self, api: Api) -> str:
        return api.insert_organisation()

    def test_every_run_is_offered_once_with_its_id_as_key(self, api: Api, org: str, trigger: Trigger) -> None:
        answer = api.post(PATH, {**BODY, "inputs": [{"n": n} for n in range(20)]}, headers=internal_headers(org))
        runs = [run["id"] for run in read_data(answer)["pipeline_runs"]]
        assert answer.json()["meta"] == {
            "runner": "trigger",
            "replayed": False,
            "runs": 20,
            "steps": 20,
            "max_cost": "2.00",
            "unpriced_processors": [],
            "dispatched": 20,
            "not_dispatched": [],
        }
        assert {path for path, _, _ in trigger.asked} == {"/api/v1/tasks/run-pipeline/trigger"}
        assert {authorization for _, authorization, _ in trigger.asked} == {"Bearer tr_dev_secret"}
        bodies = sorted(
            (body for _, _, body in trigger.asked), key=lambda body: runs.index(body["payload"]["pipeline_run_id"])
        )
        assert bodies == [
            {
                "payload": {"pipeline_run_id": run, "org_id": org, "company_id": None},
                "options": {"idempotencyKey": run},
            }
            for run in runs
        ]
        select = "select id::text, trigger_run_id, runner, status from pipeline_runs where org_id = %s"
        noted = api.execute(select, [org])
        assert sorted(noted) == sorted((run, f"run_{run}", "trigger", "queued") for run in runs)

    def test_no_local_runner_is_given_them(self, api: Api, org: str, trigger: Trigger) -> None:
        read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        trigger.answers = [(401, {}, b"")]
        read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        assert read_data(api.call_runner("pipeline-runs/claim", {"worker": "w", "lease_seconds": 60})) is None

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
    def test_what_may_pass_is_tried_again(self, api: Api, org: str, trigger: Trigger, status: int) -> None:
        trigger.answers = [(status, {"retry-after": "0"}, b"<html>Bad Gateway</html>")] * 2
        answer = api.post(PATH, BODY, headers=internal_headers(org))
        assert answer.json()["meta"]["dispatched"] == 1
        assert len(trigger.asked) == 3
        assert len({body["options"]["idempotencyKey"] for _, _, body in trigger.asked}) == 1

    @pytest.mark.parametrize(
        ("answer", "times", "said"),
        [
            ((401, {}, b'{"error": "Invalid API Key"}'), 1, "Trigger.dev answered 401"),
            ((404, {}, b""), 1, "Trigger.dev answered 404"),
            ((422, {}, b""), 1, "Trigger.dev answered 422"),
            ((503, {"retry-after": "0"}, b""), 4, "Trigger.dev answered 503"),
            ((200, {}, b"<html>"), 1, "Trigger.dev answered 200 without a run id"),
            ((200, {}, b"{}"), 1, "Trigger.dev answered 200 without a run id"),
            (
                (200, {}, b'{"id": "%b"}' % (b"x" * 501)),
                1,
                "Trigger.dev answered 200 with a run id of 501 characters, more than 500",
            ),
        ],
    )
    def test_what_is_not_taken_stays_queued_and_is_said(
        self, api: Api, org: str, trigger: Trigger, answer: Any, times: int, said: str
    ) -> None:
        trigger.answers = [answer] * 4
        made = api.post(PATH, BODY, headers=internal_headers(org))
        (run,) = read_data(made)["pipeline_runs"]
        meta = made.json()["meta"]
        assert (meta["dispatched"], meta["not_dispatched"]) == (0, [{"pipeline_run_id": run["id"], "error": said}])
        assert "submissions/dispatch" in meta["hint"]
        assert len(trigger.asked) == times
        select = "select status, trigger_run_id from pipeline_runs where org_id = %s"
        assert api.execute(select, [org]) == [("queued", None)]

    def test_an_id_that_cannot_be_recorded_leaves_the_others(self, api: Api, org: str, trigger: Trigger) -> None:
        taken = b'{"id": "of-another-run-of-%b"}' % org.encode()
        trigger.answers = [(200, {}, taken)] * 2
        made = api.post(PATH, {**BODY, "inputs": [{"n": 1}, {"n": 2}]}, headers=internal_headers(org))
        meta = made.json()["meta"]
        assert (made.status_code, meta["dispatched"], len(meta["not_dispatched"])) == (200, 1, 1)
        assert "Trigger.dev accepted it, which was not recorded: " in meta["not_dispatched"][0]["error"]

    def test_a_database_that_fails_meanwhile_leaves_the_submission(
        self, start: Callable[..., AbstractContextManager[Api]], trigger: Trigger
    ) -> None:
        """The answer says that it is stored: a client that was told 503 would submit it once more."""
        limits = Limits(lock_seconds=60, statement_seconds=2)
        with start(trigger_secret_key="tr_dev_secret", trigger_api_url=trigger.url, limits=limits) as api:
            org = api.insert_organisation()
            with ExitStack() as stack:
                lock = api.hold_locks("lock table pipeline_runs in access exclusive mode")
                trigger.meanwhile = lambda: stack.enter_context(lock)
                made = api.post(PATH, BODY, headers=internal_headers(org))
            submission = read_data(made)
            (run,) = submission["pipeline_runs"]
            said = "Trigger.dev accepted it, which was not recorded: the database could not do it now"
            assert made.json()["meta"]["not_dispatched"] == [{"pipeline_run_id": run["id"], "error": said}]
            trigger.meanwhile = lambda: None
            told = read_data(api.call_runner("submissions/dispatch", {"submission_id": submission["id"]}))
            assert told == {"dispatched": 1, "not_dispatched": []}
        assert trigger.list_keys() == [run["id"]] * 2

    def test_what_was_left_is_offered_again(self, api: Api, org: str, trigger: Trigger) -> None:
        trigger.answers = [(401, {}, b"")]
        made = read_data(api.post(PATH, BODY, headers=internal_headers(org)))
        for left in (1, 0):
            told = read_data(api.call_runner("submissions/dispatch", {"submission_id": made["id"]}))
            assert told == {"dispatched": left, "not_dispatched": []}
        assert len(trigger.asked) == 2

    def test_a_server_that_is_not_there(self, start: Callable[..., AbstractContextManager[Api]]) -> None:
        with start(trigger_secret_key="tr_dev_secret", trigger_api_url="http://127.0.0.1:9") as api:
            answer = api.post(PATH, BODY, headers=internal_headers(api.insert_organisation()))
            assert read_data(answer)["pipeline_runs"][0]["status"] == "queued"
            assert "cannot be reached" in answer.json()["meta"]["not_dispatched"][0]["error"]


def test_dispatch_without_trigger_dev_is_409(api: Api) -> None:
    answer = api.call_runner("submissions/dispatch", {"submission_id": str(uuid.uuid4())})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_trigger")
