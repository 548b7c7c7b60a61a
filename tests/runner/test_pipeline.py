"""A run from its submission to rows, as one would start it."""

import json

from tests.plain_http import HTTP
from tests.runner.conftest import COMPANY, ICP, KEY, PERSON, World
from tests.world import build_payload

CONTEXT = {
    "company_name": "Northwind Robotics",
    "domain": "https://www.northwind-robotics.example.com/",
    "client_company_name": "Harbor Assurance",
    "client_company_description": "Insures machines against standing still.",
    "full_name": "Mara Lindqvist",
    "current_company_name": "Northwind Robotics",
}


def test_three_operations_become_three_rows(world: World) -> None:
    answer = HTTP.post(
        f"{world.url}/api/v1/submissions",
        headers={"authorization": f"Bearer {KEY}", "x-internal-org-id": world.org_id},
        json={"steps": [{"operation_id": operation} for operation in (ICP, COMPANY, PERSON)], "inputs": [CONTEXT]},
    )
    assert answer.is_success, answer.text
    worker = world.run_worker()
    assert (worker.popen.returncode, worker.list_warnings()) == (0, []), worker.text

    run_id, status, submission = world.execute(
        "select r.id, r.status, s.status from pipeline_runs as r join submissions as s on s.id = r.submission_id"
        " where r.org_id = %s",
        (world.org_id,),
    )[0]
    assert (status, submission) == ("succeeded", "completed")
    for table in ("icp_job_titles", "company_intel_briefings", "person_intel_briefings"):
        (row,) = world.select_rows(table)
        assert row["source_pipeline_run_id"] == str(run_id)
    # The live block wrote row and ledger entry together: the repair at the end of the run found nothing left to do.
    accounts = world.fetch_coverage()
    assert len(accounts) == 4
    for account in accounts:
        found = 3 if account["spec"] == "research_evidence" else 1  # it is fed by all three
        assert (account["found"], account["unchanged"], account["written"]) == (found, 0, found), account


def test_rows_are_those_the_step_results_say(world: World) -> None:
    run_id = world.queue_run([COMPANY], CONTEXT)
    world.run_worker()
    (row,), (step,) = world.select_rows("company_intel_briefings"), world.select_steps(run_id)
    output = step["output_payload"]["operation_result"]["output"]
    assert row["company_domain"] == "northwind-robotics.example.com"
    assert row["parallel_run_id"] == step["provider_run_id"] == world.fetch_orders(run_id)[0]["run_id"]
    assert row["processor"] == "ultra"
    assert row["source_recorded_at"] == step["finished_at"]
    same = "select b.raw_parallel_output::text = (s.output_payload #> %s)::text, b.raw_parallel_output::text"
    same += " from company_intel_briefings as b join step_results as s on s.pipeline_run_id = b.source_pipeline_run_id"
    path = "{operation_result,output,parallel_raw_response,output,content}"
    is_same, text = world.execute(f"{same} where b.org_id = %s", (path, world.org_id))[0]
    assert is_same and output["parallel_raw_response"]["run"]["status"] == "completed"
    # To the digit, from the provider's text to the table.
    assert '"register_number": 29384756102938475610293847561,' in text
    assert '"revenue_eur_millions": 61.10' in text


def test_context_grows_from_step_to_step(world: World) -> None:
    run_id = world.queue_run([ICP, PERSON], CONTEXT, processor="core")
    world.run_worker()
    first, second = world.select_steps(run_id)
    assert first["input_payload"] == CONTEXT
    assert second["input_payload"] == first["output_payload"]["cumulative_context"]
    assert second["input_payload"]["processor"] == "core"
    assert second["output_payload"]["cumulative_context"]["title"] == ""
    assert [order["processor"] for order in world.fetch_orders(run_id)] == ["core", "core"]


ANSWER = "parallel_raw_response"


def test_an_answer_is_stored_once(world: World) -> None:
    """It stands in the output of the step that has it: not in its context, nor in what later steps are given."""
    run_id = world.queue_run([ICP, COMPANY], CONTEXT)
    world.run_worker()
    steps = world.select_steps(run_id)
    for step in steps:
        payload = step["output_payload"]
        assert len(json.dumps(payload["operation_result"]["output"][ANSWER])) > 1_000
        assert ANSWER not in payload["cumulative_context"]
        assert ANSWER not in step["input_payload"]
        # All that is stored is the answer, the small values beside it, and the inputs.
        size = len(json.dumps(payload)) + len(json.dumps(step["input_payload"]))
        assert size < len(json.dumps(payload["operation_result"]["output"][ANSWER])) + 4_000
        assert payload["cumulative_context"]["domain"] == payload["operation_result"]["output"]["domain"]
    assert len(world.select_rows("icp_job_titles")) == len(world.select_rows("company_intel_briefings")) == 1
    for account in world.fetch_coverage():
        assert account["found"] == account["unchanged"] + account["written"], account


def test_a_run_whose_first_step_is_of_an_earlier_version_goes_on_without_its_answer(world: World) -> None:
    run_id = world.queue_run([ICP, COMPANY], CONTEXT)
    output = {"domain": "northwind-robotics.example.com", ANSWER: {"output": {"content": {"titles": ["CFO"]}}}}
    payload = build_payload(ICP, output, context={**CONTEXT, **output})
    world.execute(
        "update step_results set status = 'succeeded', output_payload = %s::jsonb, finished_at = now()"
        " where pipeline_run_id = %s and step_position = 1",
        (payload, run_id),
    )
    world.run_worker()
    first, second = world.select_steps(run_id)
    assert first["output_payload"]["cumulative_context"][ANSWER] == output[ANSWER]
    assert second["input_payload"] == {**CONTEXT, "domain": output["domain"]}
    assert ANSWER not in second["output_payload"]["cumulative_context"]
    (row,) = world.select_rows("icp_job_titles")
    assert row["raw_parallel_output"] == {"titles": ["CFO"]}


def test_a_run_that_has_ended_is_left_alone(world: World) -> None:
    run_id = world.queue_run([ICP], CONTEXT)
    world.run_worker()
    world.execute("update pipeline_runs set status = 'running', lease_expires_at = now() where id = %s", (run_id,))
    assert world.run_worker().list_warnings() == []
    assert world.select_run(run_id)["status"] == "succeeded"
    assert len(world.fetch_orders(run_id)) == 1
