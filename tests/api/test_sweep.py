"""What nobody wrote live becomes rows by itself: the API sweeps, and a scheduler may ask for it."""

import time
from typing import Any

import httpx
import psycopg

from tests.api.loopback import Api, internal_headers, read_data, read_error, run_api, wait_for_registration
from tests.world import build_payload, insert_organisation, insert_run, insert_step, insert_submission

PATH = "/api/internal/reconcile"
SECONDS = 30


def record_titles(api: Api, domain: str) -> str:
    """Record the job titles of a company as a step result of an organisation of its own; return its id."""
    plan = next(plan for plan in api.plans if plan.name == "icp_job_titles")
    output = {"domain": domain, "parallel_raw_response": {"output": {"content": {"titles": []}}}}
    with psycopg.connect(api.dsn, autocommit=True) as connection:
        org = insert_organisation(connection)
        run = insert_run(connection, org, insert_submission(connection, org))
        return insert_step(connection, run, position=1, payload=build_payload(plan.operations[0], output))


def list_domains(api: Api) -> list[str]:
    return [domain for (domain,) in api.execute("select company_domain from icp_job_titles order by 1")]


def find_account(answer: httpx.Response) -> dict[str, Any]:
    """Return the account of the job titles; the evidence of the same research has one of its own."""
    return next(account for account in read_data(answer) if account["spec"] == "icp_job_titles")


def test_the_api_sweeps_what_is_pending(database: str) -> None:
    with run_api(database, sweep_seconds=1) as api:
        wait_for_registration(api)
        step = record_titles(api, "a.com")
        deadline = time.monotonic() + SECONDS
        while not list_domains(api):
            assert time.monotonic() < deadline, "nothing was swept"
            time.sleep(0.1)
        outcome = "select outcome from step_persistence where step_result_id = %s and spec = 'icp_job_titles'"
        assert api.fetch_value(outcome, [step]) == "written"
        assert api.execute("select * from pending_results where spec = 'icp_job_titles'") == []


def test_a_scheduler_asks_for_a_sweep(database: str) -> None:
    with run_api(database) as api:
        wait_for_registration(api)
        read_error(api.post(PATH), 401, "missing_token")
        assert read_data(api.post(PATH, headers=internal_headers())) == []
        record_titles(api, "a.com")
        account = find_account(api.post(PATH, headers=internal_headers()))
        assert (account["found"], account["written"]) == (1, 1)
        assert list_domains(api) == ["a.com"]


def test_a_process_whose_spec_is_not_the_present_one_never_sweeps(database: str) -> None:
    with run_api(database) as api:
        wait_for_registration(api)
        record_titles(api, "a.com")
        api.execute(
            "insert into spec_versions (spec, digest, number, operations)"
            " select spec, 'of a later release', number + 1, operations from spec_versions"
        )
        accounts = read_data(api.post(PATH, headers=internal_headers()))
        assert {account["spec"] for account in accounts} == {plan.name for plan in api.plans}
        assert all("not the one that was registered last" in account["error"] for account in accounts)
        assert list_domains(api) == []


def test_two_sweeps_at_once_share_the_work(database: str) -> None:
    """Of one spec one backfill is at work at a time; the other process leaves it alone and says so."""
    with run_api(database) as api, run_api(database) as other:
        wait_for_registration(api)
        record_titles(api, "a.com")
        lock = "select pg_advisory_xact_lock(hashtextextended('dex backfill ' || 'icp_job_titles', 0))"
        with api.hold_locks(lock):
            assert "another backfill" in find_account(other.post(PATH, headers=internal_headers()))["error"]
        assert find_account(other.post(PATH, headers=internal_headers()))["written"] == 1
