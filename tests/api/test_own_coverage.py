"""A tenant's own accounts: what was found for it, and why some of it has no row."""

import asyncio
import uuid
from typing import Any

import psycopg

from engine.backfill.run import run_backfill
from engine.sql.step_results import Scope
from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, read_error
from tests.world import build_payload, insert_run, insert_step, insert_submission

PATH = "/api/v1/coverage"


def research(api: Api, org: str, *outputs: object) -> None:
    """Record the outputs as step results of one run, and backfill them."""
    plan = next(plan for plan in api.plans if plan.name == "icp_job_titles")
    with psycopg.connect(api.dsn, autocommit=True) as connection:
        run_id = insert_run(connection, org, insert_submission(connection, org))
        for position, output in enumerate(outputs, start=1):
            payload = build_payload(plan.operations[0], output)
            insert_step(connection, run_id, position=position, payload=payload)
    asyncio.run(run_backfill(api.dsn, plan, Scope(org_ids=(org,))))


def choose_account(accounts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the account of the job titles; the operation feeds the evidence, too."""
    assert [account["spec"] for account in accounts] == ["icp_job_titles", "research_evidence"]
    return accounts[0]


def test_it_tells_what_was_found_and_why_some_has_no_row(api: Api, org: str) -> None:
    good = {"domain": "a.com", "parallel_raw_response": {"output": {"content": {"titles": []}}}}
    research(api, org, good, {**good, "domain": None}, {**good, "domain": "no domain at all"})
    account = choose_account(api.client.get(PATH, headers=bearer_headers(api.insert_token(org))).json()["data"])
    assert (account["spec"], account["org_id"], account["found"]) == ("icp_job_titles", org, 3)
    assert account["written"] == 1 and account["rejected"] == 2 and account["pending"] == 0
    reasons = {reason["code"]: reason for reason in account["reasons"]}
    assert reasons["missing_required"]["count"] == 1 and reasons["missing_required"]["field"] == "company_domain"
    assert all(reason["message"] and uuid.UUID(reason["step_result_id"]) for reason in account["reasons"])
    assert sum(reason["count"] for reason in account["reasons"]) == 2


def test_it_is_ones_own(api: Api, org: str) -> None:
    research(api, org, {"domain": "a.com", "parallel_raw_response": {"output": {"content": {}}}})
    other = api.insert_organisation()
    assert api.client.get(PATH, headers=internal_headers(other)).json() == {"data": []}
    answer = api.client.get(PATH, params={"org_id": org}, headers=internal_headers(other))
    read_error(answer, 403, "other_organisation")
    admin = api.client.get(PATH, params={"org_id": org}, headers=bearer_headers(ADMIN_KEY))
    assert [account["org_id"] for account in admin.json()["data"]] == [org, org]
    read_error(api.client.get(PATH, headers=internal_headers(str(uuid.uuid4()))), 404, "unknown_organisation")
    assert api.client.get(PATH).status_code == 401
