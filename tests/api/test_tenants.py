"""Two organisations in one table, for each spec: neither sees the rows of the other, whatever credentials it uses."""

import re
from typing import Any

import psycopg
import pytest

from engine.plan import Plan
from tests.api.loopback import ADMIN_KEY, Api, bearer_headers, internal_headers, session_jwt
from tests.conftest import load_project_plans

PLANS = load_project_plans()
EVERY_SPEC = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)


def build_body(plan: Plan, mark: str) -> dict[str, Any]:
    """A body that fills every field of a spec with words that name who wrote it; of a spec with `rows` it has one."""
    text = f"{mark}.example.com"
    values = {"jsonb": {"mark": mark}, "text[]": [text]}
    row = {item.name: values.get(item.type.name, text) for item in plan.fields}
    return {"rows": [row]} if plan.many else row


def upsert_row(api: Api, plan: Plan, org: str, mark: str) -> dict[str, Any]:
    answer = api.upsert(plan.slug, build_body(plan, mark), org)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    return dict(data[0] if plan.many else data)


@EVERY_SPEC
def test_no_credentials_show_the_rows_of_the_other(api: Api, plan: Plan) -> None:
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    for number in range(3):
        upsert_row(api, plan, mine, f"mine{number}")
        upsert_row(api, plan, theirs, f"theirs{number}")
    credentials = [
        internal_headers(mine),
        bearer_headers(session_jwt(mine)),
        bearer_headers(api.insert_token(mine)),
    ]
    asked: list[dict[str, Any]] = [{}, {"org_id": mine}, {"limit": 1}, {"offset": 1}, {"offset": 2, "limit": 1000}]
    asked += [{item.name: f"theirs{number}.example.com"} for item in plan.filters for number in range(3)]
    asked += [{item.name: ["mine0.example.com", "theirs0.example.com"]} for item in plan.filters]
    for headers in credentials:
        for words in asked:
            answer = api.post(f"/api/v1/{plan.slug}/query", words, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "theirs" not in answer.text and theirs not in answer.text


@EVERY_SPEC
def test_a_super_admin_sees_the_one_it_names(api: Api, plan: Plan) -> None:
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    upsert_row(api, plan, mine, "mine")
    upsert_row(api, plan, theirs, "theirs")
    for org, mark in ((mine, "mine"), (theirs, "theirs")):
        answer = api.post(f"/api/v1/{plan.slug}/query", {"org_id": org}, headers=bearer_headers(ADMIN_KEY))
        assert {row["org_id"] for row in answer.json()["data"]} == {org}
        assert mark in answer.text


@EVERY_SPEC
def test_the_same_key_in_two_organisations_is_two_rows(api: Api, plan: Plan) -> None:
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    first, second = upsert_row(api, plan, mine, "same"), upsert_row(api, plan, theirs, "same")
    assert first["id"] != second["id"]
    assert (first["org_id"], second["org_id"]) == (mine, theirs)


@EVERY_SPEC
def test_an_upsert_never_touches_the_other_ones_row(api: Api, plan: Plan) -> None:
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    before = upsert_row(api, plan, theirs, "same")
    changed = build_body(plan, "same")
    row = changed["rows"][0] if plan.many else changed
    row |= {item.name: ["changed"] for item in plan.fields if item.type.name in ("jsonb", "text[]")}
    assert api.upsert(plan.slug, changed, mine).status_code == 200
    after = api.query(plan.slug, theirs).json()["data"]
    assert after == [before]


@EVERY_SPEC
def test_row_level_security_alone_would_do(api: Api, plan: Plan) -> None:
    """The role every request works as sees one organisation, whatever the statement asks for."""
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    upsert_row(api, plan, mine, "mine")
    upsert_row(api, plan, theirs, "theirs")
    with psycopg.connect(api.dsn) as connection:
        connection.execute("select set_config('role', 'dex_tenant', true)")
        assert connection.execute(f"select * from {plan.table}").fetchall() == []
        connection.execute("select set_config('app.org_id', %s, true)", [mine])
        seen = connection.execute(f"select distinct org_id::text from {plan.table}").fetchall()
        assert seen == [(mine,)]
        column = next(item.name for item in plan.fields if item.type.name == "text" and not item.key)
        assert connection.execute(f"update {plan.table} set {column} = 'x' where org_id = %s", [theirs]).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"update {plan.table} set org_id = %s", [theirs])


def test_the_where_clause_alone_would_do(own_api: Api) -> None:
    """With row level security off, the statements still name the organisation."""
    own_api.client.get("/readyz")  # looks at the tables before that, and then not for a while
    mine, theirs = own_api.insert_organisation(), own_api.insert_organisation()
    for plan in PLANS:
        own_api.execute(f"alter table {plan.table} disable row level security")
        upsert_row(own_api, plan, mine, "mine")
        upsert_row(own_api, plan, theirs, "theirs")
        answer = own_api.query(plan.slug, mine)
        assert len(answer.json()["data"]) == 1
        assert "theirs" not in answer.text


def test_no_setting_stays_on_a_connection(api: Api, org: str) -> None:
    """The pool hands connections on: a session setting would make the next caller somebody else."""
    plan = PLANS[0]
    _, run = api.insert_submission(api.insert_organisation())
    for number in range(20):
        upsert_row(api, plan, org, f"mine{number}")
        assert api.call_runner("pipeline-runs/get", {"pipeline_run_id": run}).status_code == 200, "still bound to `org`"


def test_no_answer_of_one_organisation_names_the_other(api: Api) -> None:
    mine, theirs = api.insert_organisation(), api.insert_organisation()
    _, run = api.insert_submission(theirs)
    answer = api.upsert(
        "icp-job-titles", {"company_domain": "a.com", "raw_parallel_output": 1, "source_pipeline_run_id": run}, mine
    )
    assert answer.status_code == 403
    assert not re.search(theirs, answer.text)
