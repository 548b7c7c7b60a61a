"""What the runner needs: claims and leases, statuses, payloads, and what happens when a run ends."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.api.loopback import Api, internal_headers, read_data, read_error

COMPANY = "company.derive.intel_briefing"


def build_payload(**output: Any) -> dict[str, Any]:
    """The `output_payload` of a found company briefing."""
    words = {
        "domain": "example.com",
        "company_name": "Example",
        "client_company_name": "Client",
        "parallel_raw_response": {"output": {"content": {"a": 1}}},
    } | output
    result = {"operation_id": COMPANY, "status": "found", "output": words}
    return {"operation_result": result, "cumulative_context": words}


def insert_queued_run(api: Api, org: str) -> str:
    _, run = api.insert_submission(org)
    api.execute("update pipeline_runs set status = 'queued' where id = %s", [run])
    return run


def claim_run(api: Api, org: str, seconds: int = 60) -> Any:
    """Claim within one organisation, so that tests do not take each other's runs."""
    return read_data(
        api.call_runner("pipeline-runs/claim", {"worker": "w", "lease_seconds": seconds}, **{"x-internal-org-id": org})
    )


class TestClaim:
    def test_nothing_to_do_is_null(self, api: Api, org: str) -> None:
        assert claim_run(api, org) is None

    def test_the_oldest_queued_run_first(self, api: Api, org: str) -> None:
        runs = [insert_queued_run(api, org) for _ in range(3)]
        for age, run in enumerate(runs):
            api.execute(
                "update pipeline_runs set created_at = now() - %s * interval '1 hour' where id = %s", [age, run]
            )
        taken = [claim_run(api, org) for _ in range(4)]
        assert [one and one["id"] for one in taken] == [*reversed(runs), None]

    def test_what_a_claim_says(self, api: Api, org: str) -> None:
        run = insert_queued_run(api, org)
        taken = claim_run(api, org)
        assert set(taken) == {"id", "org_id", "company_id", "submission_id", "lease_token", "lease_expires_at"}
        assert (taken["id"], taken["org_id"], taken["company_id"]) == (run, org, None)
        assert uuid.UUID(taken["lease_token"])
        assert datetime.fromisoformat(taken["lease_expires_at"])
        row = api.execute("select status, started_at is not null from pipeline_runs where id = %s", [run])
        assert row == [("running", True)]

    def test_many_runners_never_take_the_same(self, api: Api, org: str) -> None:
        runs = {insert_queued_run(api, org) for _ in range(20)}
        with ThreadPoolExecutor(8) as threads:
            taken = list(threads.map(lambda _: claim_run(api, org), range(24)))
        ids = [one["id"] for one in taken if one]
        assert sorted(ids) == sorted(runs)

    def test_a_run_whose_runner_died_is_taken_again(self, api: Api, org: str) -> None:
        run = insert_queued_run(api, org)
        first = claim_run(api, org)
        assert claim_run(api, org) is None
        api.execute("update pipeline_runs set lease_expires_at = now() - interval '1 second' where id = %s", [run])
        second = claim_run(api, org)
        assert second["id"] == run
        assert second["lease_token"] != first["lease_token"]

    def test_a_run_without_a_lease_is_left_alone(self, api: Api, org: str) -> None:
        api.insert_submission(org)  # running, and never leased: Trigger.dev executes it
        assert claim_run(api, org) is None

    def test_a_run_of_trigger_dev_is_left_alone(self, api: Api, org: str) -> None:
        run = insert_queued_run(api, org)
        api.execute("update pipeline_runs set runner = 'trigger' where id = %s", [run])
        assert claim_run(api, org) is None

    @pytest.mark.parametrize("seconds", [0, -1, 86_401, "60", None, 1.5])
    def test_a_lease_out_of_range_is_422(self, api: Api, seconds: Any) -> None:
        assert api.call_runner("pipeline-runs/claim", {"worker": "w", "lease_seconds": seconds}).status_code == 422


class TestLease:
    def test_a_heartbeat_prolongs_it(self, api: Api, org: str) -> None:
        insert_queued_run(api, org)
        taken = claim_run(api, org, seconds=10)
        beat = {"pipeline_run_id": taken["id"], "lease_token": taken["lease_token"], "lease_seconds": 1000}
        longer = read_data(api.call_runner("pipeline-runs/heartbeat", beat))
        assert set(longer) == {"lease_expires_at"}
        assert datetime.fromisoformat(longer["lease_expires_at"]) > datetime.fromisoformat(taken["lease_expires_at"])

    def test_a_lost_one_is_409(self, api: Api, org: str) -> None:
        run = insert_queued_run(api, org)
        first = claim_run(api, org)
        api.execute("update pipeline_runs set lease_expires_at = now() - interval '1 second' where id = %s", [run])
        claim_run(api, org)
        mine = {"pipeline_run_id": run, "lease_token": first["lease_token"]}
        read_error(api.call_runner("pipeline-runs/heartbeat", {**mine, "lease_seconds": 60}), 409, "lost_lease")
        read_error(api.call_runner("pipeline-runs/update-status", {**mine, "status": "succeeded"}), 409, "lost_lease")
        step = {"step_result_id": api.insert_step(run), "status": "running", "lease_token": first["lease_token"]}
        read_error(api.call_runner("step-results/update", step), 409, "lost_lease")
        assert api.fetch_value("select status from pipeline_runs where id = %s", [run]) == "running"

    def test_an_ended_run_cannot_be_kept(self, api: Api, org: str) -> None:
        insert_queued_run(api, org)
        taken = claim_run(api, org)
        mine = {"pipeline_run_id": taken["id"], "lease_token": taken["lease_token"]}
        read_data(api.call_runner("pipeline-runs/update-status", {**mine, "status": "succeeded"}))
        read_error(api.call_runner("pipeline-runs/heartbeat", {**mine, "lease_seconds": 60}), 409, "lost_lease")
        again = read_data(api.call_runner("pipeline-runs/update-status", {**mine, "status": "succeeded"}))
        assert again["status"] == "succeeded", "its runner may report the end twice"

    def test_a_canceled_run_is_its_runners_no_more_but_its_research_is_kept(self, api: Api, org: str) -> None:
        insert_queued_run(api, org)
        taken = claim_run(api, org)
        run, lease = taken["id"], {"lease_token": taken["lease_token"]}
        read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "canceled"}))
        read_error(api.call_runner("pipeline-runs/heartbeat", {"pipeline_run_id": run, **lease}), 409, "lost_lease")
        said = api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded", **lease})
        read_error(said, 409, "lost_lease")
        late = {
            "step_result_id": api.insert_step(run),
            "status": "succeeded",
            "output_payload": build_payload(),
            **lease,
        }
        assert read_data(api.call_runner("step-results/update", late))["result_status"] == "found"

    def test_starting_what_another_runner_holds_is_409(self, api: Api, org: str) -> None:
        insert_queued_run(api, org)
        taken = claim_run(api, org)
        start = {"pipeline_run_id": taken["id"], "status": "running", "trigger_run_id": "run_x"}
        read_error(api.call_runner("pipeline-runs/update-status", start), 409, "lost_lease")

    def test_nobody_is_404(self, api: Api) -> None:
        beat = {"pipeline_run_id": str(uuid.uuid4()), "lease_token": str(uuid.uuid4()), "lease_seconds": 60}
        said = read_error(api.call_runner("pipeline-runs/heartbeat", beat), 404, "not_found")
        assert said["error"] == "Pipeline run not found"


class TestGet:
    def test_a_run_with_all_that_belongs_to_it(self, api: Api, org: str) -> None:
        submission, run = api.insert_submission(org)
        second, first = api.insert_step(run, 2), api.insert_step(run, 1)
        found = read_data(api.call_runner("pipeline-runs/get", {"pipeline_run_id": run}))
        assert (found["id"], found["org_id"], found["status"], found["attempt"]) == (run, org, "running", 1)
        assert found["submissions"]["id"] == submission
        assert [step["id"] for step in found["step_results"]] == [first, second]
        keys = {
            "order_id",
            "output_payload",
            "input_payload",
            "step_position",
            "status",
        }
        assert keys <= set(found["step_results"][0])
        assert "lease_token" not in found

    def test_numbers_pass_untouched(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        step = api.insert_step(run)
        numbers = '{"a": 1.10, "b": 123456789012345678901234567890, "c": 1e400}'
        body = f'{{"step_result_id": "{step}", "output_payload": {numbers}}}'.encode()
        read_data(api.call_runner("step-results/update", body))
        text = api.call_runner("pipeline-runs/get", {"pipeline_run_id": run}).text
        assert '"a": 1.10, "b": 123456789012345678901234567890, "c": 1' + "0" * 400 in text

    def test_nobody_is_404(self, api: Api) -> None:
        said = read_error(
            api.call_runner("pipeline-runs/get", {"pipeline_run_id": str(uuid.uuid4())}), 404, "not_found"
        )
        assert said["error"] == "Pipeline run not found"


class TestStatus:
    def test_the_way_of_a_run(self, api: Api, org: str) -> None:
        run = insert_queued_run(api, org)
        started = read_data(
            api.call_runner(
                "pipeline-runs/update-status",
                {"pipeline_run_id": run, "status": "running", "trigger_run_id": "run_" + run},
            )
        )
        assert (started["status"], started["trigger_run_id"], started["finished_at"]) == ("running", "run_" + run, None)
        assert started["started_at"]
        ended = read_data(
            api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        assert ended["started_at"] == started["started_at"]
        assert ended["finished_at"]
        again = read_data(
            api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        assert again["finished_at"] == ended["finished_at"]

    def test_an_error_is_kept_until_it_is_cleared(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        failed = {"pipeline_run_id": run, "status": "failed", "error_message": "it broke", "error_details": {"n": 1.10}}
        answer = api.call_runner("pipeline-runs/update-status", json.dumps(failed).replace("1.1}", "1.10}").encode())
        assert '"error_details":{"n": 1.10}' in answer.text.replace('" : ', '":')
        run_again = {"pipeline_run_id": run, "status": "running"}
        assert read_data(api.call_runner("pipeline-runs/update-status", run_again))["error_message"] == "it broke"
        cleared = read_data(
            api.call_runner("pipeline-runs/update-status", {**run_again, "error_message": None, "error_details": None})
        )
        assert (cleared["error_message"], cleared["error_details"]) == (None, None)

    def test_a_trigger_run_has_one_run(self, api: Api, org: str) -> None:
        first, second = insert_queued_run(api, org), insert_queued_run(api, org)
        body = {"status": "running", "trigger_run_id": f"run_{org}"}
        read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": first, **body}))
        read_error(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": second, **body}), 409, "conflict")

    @pytest.mark.parametrize("status", ["done", "", None, 5, "SUCCEEDED"])
    def test_a_status_that_is_none_is_422(self, api: Api, org: str, status: Any) -> None:
        _, run = api.insert_submission(org)
        assert (
            api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": status}).status_code
            == 422
        )


class TestEnd:
    def test_what_the_live_block_missed_is_written_before_the_answer(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        read_data(
            api.call_runner(
                "step-results/update",
                {"step_result_id": api.insert_step(run), "status": "succeeded", "output_payload": build_payload()},
            )
        )
        ended = read_data(
            api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        told = {one["spec"]: (one["found"], one["written"], one["pending"]) for one in ended["persistence"]}
        assert told == {"company_intel_briefings": (1, 1, 0), "research_evidence": (1, 0, 0)}, "and no evidence"
        (row,) = api.query("company-intel-briefings", org).json()["data"]
        assert (row["company_domain"], row["source_pipeline_run_id"]) == ("example.com", run)
        coverage = api.client.get("/api/internal/coverage", headers=internal_headers(org)).json()["data"]
        assert [(one["spec"], one["found"], one["written"], one["filtered"]) for one in coverage] == [
            ("company_intel_briefings", 1, 1, 0),
            ("research_evidence", 1, 0, 1),
        ]

    def test_what_the_live_block_wrote_is_unchanged(self, api: Api, org: str) -> None:
        submission, run = api.insert_submission(org)
        step = read_data(
            api.call_runner(
                "step-results/update",
                {"step_result_id": api.insert_step(run), "status": "succeeded", "output_payload": build_payload()},
            )
        )
        live = {
            "company_domain": "example.com",
            "company_name": "Example",
            "client_company_name": "Client",
            "raw_parallel_output": {"a": 1},
            "source_submission_id": submission,
            "source_pipeline_run_id": run,
            "source_step_result_id": step["id"],
            "source_recorded_at": step["finished_at"],
        }
        assert api.upsert("company-intel-briefings", live, org).json()["meta"]["outcome"] == "written"
        ended = read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "failed"}))
        told = {one["spec"]: (one["found"], one["unchanged"]) for one in ended["persistence"]}
        assert told == {"company_intel_briefings": (1, 1), "research_evidence": (1, 0)}

    def test_a_rejected_one_says_why(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        body = {
            "step_result_id": api.insert_step(run),
            "status": "succeeded",
            "output_payload": build_payload(domain=None),
        }
        read_data(api.call_runner("step-results/update", body))
        ended = read_data(
            api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "canceled"})
        )
        account, evidence = ended["persistence"]
        assert (account["rejected"], evidence["rejected"], evidence["filtered"]) == (1, 0, 1)
        assert account["reasons"] == [{"code": "missing_required", "field": "company_domain", "count": 1}]

    def test_a_run_that_found_nothing_has_no_accounts(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        assert (
            read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"}))[
                "persistence"
            ]
            == []
        )

    def test_a_repair_that_fails_leaves_the_status_and_says_so(self, own_api: Api) -> None:
        org = own_api.insert_organisation()
        _, run = own_api.insert_submission(org)
        body = {"step_result_id": own_api.insert_step(run), "status": "succeeded", "output_payload": build_payload()}
        read_data(own_api.call_runner("step-results/update", body))
        own_api.execute("alter table company_intel_briefings rename to elsewhere")
        ended = read_data(
            own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        assert ended["status"] == "succeeded"
        left, other = ended["persistence"]
        assert (left["spec"], left["pending"], left["written"]) == ("company_intel_briefings", 1, 0)
        assert (other["spec"], other["pending"], other["filtered"]) == ("research_evidence", 0, 1)
        assert "company_intel_briefings" in left["error"]
        assert ended["persistence_error"]["code"] == "repair_failed"
        coverage = own_api.client.get("/api/internal/coverage", headers=internal_headers()).json()["data"]
        assert [account["pending"] for account in coverage] == [1, 0]
        own_api.execute("alter table elsewhere rename to company_intel_briefings")
        again = read_data(
            own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        assert again["persistence"][0]["written"] == 1

    def test_a_table_somebody_holds_is_waited_for_only_so_long(self, own_api: Api) -> None:
        org = own_api.insert_organisation()
        _, run = own_api.insert_submission(org)
        body = {"step_result_id": own_api.insert_step(run), "status": "succeeded", "output_payload": build_payload()}
        read_data(own_api.call_runner("step-results/update", body))
        with psycopg.connect(own_api.dsn) as holder:
            holder.execute("lock table company_intel_briefings in exclusive mode")
            ended = read_data(
                own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
            )
        assert (ended["status"], ended["persistence_error"]["code"]) == ("succeeded", "repair_failed")
        assert (ended["persistence"][0]["pending"], "lock timeout" in ended["persistence"][0]["error"]) == (1, True)
        again = read_data(
            own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        assert again["persistence"][0]["written"] == 1

    def test_a_table_that_does_not_fit_keeps_nothing_from_the_other_specs(self, own_api: Api) -> None:
        _, run = own_api.insert_submission(own_api.insert_organisation())
        outputs = {
            "company.derive.intel_briefing": {"domain": "a.com", "parallel_raw_response": {"x": 1}},
            "person.derive.intel_briefing": {"full_name": "Ada", "parallel_raw_response": {"x": 1}},
        }
        for position, (operation, output) in enumerate(outputs.items(), start=1):
            result = {"operation_id": operation, "status": "found", "output": output}
            body = {
                "step_result_id": own_api.insert_step(run, position),
                "status": "succeeded",
                "output_payload": {"operation_result": result, "cumulative_context": output},
            }
            read_data(own_api.call_runner("step-results/update", body))
        own_api.execute("alter table company_intel_briefings rename column processor to elsewhere")
        ended = read_data(
            own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
        )
        told = {account["spec"]: (account["written"], account["pending"]) for account in ended["persistence"]}
        assert told == {
            "company_intel_briefings": (0, 1),
            "person_intel_briefings": (1, 0),
            "research_evidence": (0, 0),
        }

    def test_the_times_of_a_run_may_be_said(self, api: Api) -> None:
        _, run = api.insert_submission(api.insert_organisation())
        body = {"pipeline_run_id": run, "status": "succeeded", "finished_at": "2026-01-02T03:04:05Z"}
        assert read_data(api.call_runner("pipeline-runs/update-status", body))["finished_at"].startswith(
            "2026-01-02T03:04:05"
        )


class TestStep:
    def test_the_way_of_a_step(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        step = api.insert_step(run)
        started = api.call_runner(
            "step-results/update", {"step_result_id": step, "status": "running", "input_payload": {"a": 1}}
        )
        assert started.json()["meta"] == {"replaced": 0}
        assert (read_data(started)["status"], read_data(started)["finished_at"]) == ("running", None)
        assert read_data(started)["started_at"]
        assert "input_payload" not in read_data(started) and "output_payload" not in read_data(started)
        ended = read_data(
            api.call_runner(
                "step-results/update",
                {"step_result_id": step, "status": "succeeded", "output_payload": build_payload()},
            )
        )
        assert (ended["operation_id"], ended["result_status"]) == (COMPANY, "found")
        assert ended["finished_at"] and ended["duration_ms"] >= 0
        again = read_data(
            api.call_runner(
                "step-results/update",
                {"step_result_id": step, "status": "succeeded", "output_payload": build_payload()},
            )
        )
        assert again["finished_at"] == ended["finished_at"], "the rows made from it carry that time"

    @pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", '"a report"', "5", "false"])
    def test_a_payload_is_any_json(self, api: Api, org: str, text: str) -> None:
        _, run = api.insert_submission(org)
        step = api.insert_step(run)
        read_data(
            api.call_runner("step-results/update", f'{{"step_result_id": "{step}", "output_payload": {text}}}'.encode())
        )
        assert api.fetch_value("select output_payload::text from step_results where id = %s", [step]) == text

    def test_null_clears_and_absence_keeps(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        step = api.insert_step(run)
        read_data(
            api.call_runner(
                "step-results/update", {"step_result_id": step, "output_payload": [1], "error_message": "x"}
            )
        )
        read_data(api.call_runner("step-results/update", {"step_result_id": step, "status": "running"}))
        stored = "select output_payload, error_message from step_results where id = %s"
        assert api.execute(stored, [step]) == [([1], "x")]
        read_data(
            api.call_runner(
                "step-results/update", {"step_result_id": step, "output_payload": None, "error_message": None}
            )
        )
        assert api.execute(stored, [step]) == [(None, None)]

    def test_what_postgres_cannot_store_is_replaced_and_counted(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        step = api.insert_step(run)
        text = r'["a\u0000b", "\ud800", "\udc00x", "\ud83d\ude00", "\\u0000", "\ud83d\ud83d\ude00", "\u00e9"]'
        body = f'{{"step_result_id": "{step}", "error_message": "n\\u0000", "output_payload": {text}}}'.encode()
        answer = api.call_runner("step-results/update", body)
        assert read_data(answer)["error_message"] == "n\ufffd"
        assert answer.json()["meta"] == {"replaced": 5}
        stored = api.fetch_value("select output_payload from step_results where id = %s", [step])
        assert stored == ["a\ufffdb", "\ufffd", "\ufffdx", "😀", "\\u0000", "\ufffd😀", "é"]

    def test_nobody_is_404(self, api: Api) -> None:
        said = read_error(
            api.call_runner("step-results/update", {"step_result_id": str(uuid.uuid4())}), 404, "not_found"
        )
        assert said["error"] == "Step result not found"

    @pytest.mark.parametrize(
        "words",
        [
            {"status": "done"},
            {"duration_ms": -1},
            {"duration_ms": 2**31},
            {"error_message": 5},
            {"task_run_id": []},
        ],
    )
    def test_what_does_not_fit_is_422(self, api: Api, org: str, words: dict[str, Any]) -> None:
        _, run = api.insert_submission(org)
        answer = api.call_runner("step-results/update", {"step_result_id": api.insert_step(run), **words})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["field"] == next(iter(words))

    def test_skipping_the_rest(self, api: Api, org: str) -> None:
        _, run = api.insert_submission(org)
        steps = [api.insert_step(run, position) for position in range(1, 5)]
        api.execute("update step_results set status = 'running' where id = %s", [steps[2]])
        skipped = read_data(
            api.call_runner("step-results/mark-remaining-skipped", {"pipeline_run_id": run, "from_step_position": 1})
        )
        assert skipped == {"pipeline_run_id": run, "skipped": 2, "step_result_ids": [steps[1], steps[3]]}
        states = api.execute("select status from step_results where pipeline_run_id = %s order by step_position", [run])
        assert [state for (state,) in states] == ["queued", "skipped", "running", "skipped"]
        nobody = {"pipeline_run_id": str(uuid.uuid4()), "from_step_position": 0}
        read_error(api.call_runner("step-results/mark-remaining-skipped", nobody), 404, "not_found")


class TestSync:
    def runs(self, api: Api, org: str, *runs: dict[str, Any]) -> str:
        submission = str(uuid.uuid4())
        api.execute("insert into submissions (id, org_id) values (%s, %s)", [submission, org])
        for run in runs:
            entity = {"entity": run.pop("entity")} if "entity" in run else {}
            row = {"org_id": org, "submission_id": submission, "blueprint_snapshot": json.dumps(entity), **run}
            names, places = ", ".join(row), ", ".join(["%s"] * len(row))
            api.execute(f"insert into pipeline_runs ({names}) values ({places})", list(row.values()))
        return submission

    def sync_status(self, api: Api, org: str, *runs: dict[str, Any]) -> Any:
        submission = self.runs(api, org, *runs)
        return read_data(api.call_runner("submissions/sync-status", {"submission_id": submission}))["status"]

    @pytest.mark.parametrize(
        ("statuses", "expected"),
        [
            ([], "received"),
            (["queued", "queued"], "queued"),
            (["succeeded", "queued"], "queued"),
            (["succeeded", "running", "queued"], "running"),
            (["succeeded", "succeeded"], "completed"),
            (["succeeded", "failed"], "failed"),
            (["running", "failed"], "failed"),
            (["canceled"], "canceled"),
            (["succeeded", "canceled"], "completed"),
        ],
    )
    def test_the_status_follows_the_runs(self, api: Api, org: str, statuses: list[str], expected: str) -> None:
        runs = [{"status": status, "entity": {"n": number}} for number, status in enumerate(statuses)]
        submission = self.runs(api, org, *runs)
        answer = read_data(api.call_runner("submissions/sync-status", {"submission_id": submission}))
        assert (answer["id"], answer["status"], answer["was"]) == (submission, expected, "received")
        assert api.fetch_value("select status from submissions where id = %s", [submission]) == expected

    def test_it_follows_by_itself_what_is_said_of_a_run(self, api: Api, org: str) -> None:
        submission = self.runs(api, org, *({"entity": {"n": n}} for n in range(6)))
        runs = [
            run for (run,) in api.execute("select id::text from pipeline_runs where submission_id = %s", [submission])
        ]

        def say(run: str, status: str = "succeeded") -> str:
            read_data(api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": status}))
            return str(api.fetch_value("select status from submissions where id = %s", [submission]))

        assert say(runs[0], "running") == "running"
        with ThreadPoolExecutor(6) as threads:  # the last one to end sees the ends of the others
            list(threads.map(say, runs))
        assert api.fetch_value("select status from submissions where id = %s", [submission]) == "completed"
        assert say(runs[3], "failed") == "failed"

    def test_a_good_retry_outweighs_the_attempt_that_failed(self, api: Api, org: str) -> None:
        one = {"entity": {"input": {"domain": "a.com"}}}
        runs = [{**one, "status": "failed", "attempt": 1}, {**one, "status": "succeeded", "attempt": 2}]
        assert self.sync_status(api, org, *runs) == "completed"
        other = {"entity": {"input": {"domain": "b.com"}}, "status": "failed"}
        runs = [{**one, "status": "failed", "attempt": 1}, {**one, "status": "succeeded", "attempt": 2}, other]
        assert self.sync_status(api, org, *runs) == "failed"

    def test_children_of_an_attempt_that_was_retried_do_not_count(self, api: Api, org: str) -> None:
        old, new = str(uuid.uuid4()), str(uuid.uuid4())
        child = {"entity": {"n": 1}}
        runs = [
            {"id": old, "status": "succeeded", "attempt": 1},
            {**child, "status": "failed", "parent_pipeline_run_id": old},
            {"id": new, "status": "succeeded", "attempt": 2},
            {**child, "status": "succeeded", "parent_pipeline_run_id": new},
        ]
        assert self.sync_status(api, org, *runs) == "completed"
        runs = [{"id": str(uuid.uuid4()), "status": "succeeded"}]
        runs.append({**child, "status": "failed", "parent_pipeline_run_id": runs[0]["id"]})
        assert self.sync_status(api, org, *runs) == "failed"

    def test_nobody_is_404(self, api: Api) -> None:
        said = read_error(
            api.call_runner("submissions/sync-status", {"submission_id": str(uuid.uuid4())}), 404, "not_found"
        )
        assert said["error"] == "Submission not found"


def build_bodies(api: Api, org: str) -> dict[str, dict[str, Any]]:
    submission, run = api.insert_submission(org)
    return {
        "pipeline-runs/heartbeat": {"pipeline_run_id": run, "lease_token": str(uuid.uuid4()), "lease_seconds": 5},
        "pipeline-runs/get": {"pipeline_run_id": run},
        "pipeline-runs/update-status": {"pipeline_run_id": run, "status": "failed"},
        "step-results/update": {"step_result_id": api.insert_step(run), "status": "failed"},
        "step-results/mark-remaining-skipped": {"pipeline_run_id": run, "from_step_position": 0},
        "submissions/sync-status": {"submission_id": submission},
    }


def test_another_organisation_is_403_everywhere_and_changes_nothing(api: Api, org: str) -> None:
    asked = build_bodies(api, org)
    tables = ("pipeline_runs", "step_results", "submissions")
    everything = " union all ".join(f"select to_jsonb(t)::text from {table} t where org_id = %(o)s" for table in tables)
    before = api.execute(everything, {"o": org})
    for path, body in asked.items():
        answer = api.call_runner(path, body, **{"x-internal-org-id": str(uuid.uuid4())})
        read_error(answer, 403, "other_organisation")
    assert api.execute(everything, {"o": org}) == before
    for path, body in asked.items():
        answer = api.call_runner(path, body, **{"x-internal-org-id": org})
        assert answer.status_code == (409 if path.endswith("heartbeat") else 200), answer.text


def test_unknown_fields_are_refused_everywhere_naming_the_known_ones(api: Api, org: str) -> None:
    asked = build_bodies(api, org) | {"pipeline-runs/claim": {"worker": "w", "lease_seconds": 5}}
    for path, body in asked.items():
        said = read_error(api.call_runner(path, {**body, "satus": 1}), 422, "unknown_field")
        assert "`satus`" in said["error"]
        assert all(f"`{name}`" in said["hint"] for name in body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"pipeline_run_id": NaN}', b"\xff", b'{"pipeline_run_id": "x"}', b"{}"]
)
def test_a_body_that_does_not_fit_is_422(api: Api, body: bytes) -> None:
    answer = api.call_runner("pipeline-runs/get", body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "code", "detail", "hint"}
