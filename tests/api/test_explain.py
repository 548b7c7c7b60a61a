"""Explain and history over HTTP, the command line and the typed functions: one answer, of one's own rows alone."""

import asyncio
import json
import subprocess
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator

from engine.backfill.run import run_backfill
from engine.functions import event_loop
from engine.functions.explain import RowMissing
from engine.generated import explain_icp_job_titles, list_icp_job_titles_history
from engine.sql.step_results import Scope
from tests.api.loopback import (
    ADMIN_KEY,
    Api,
    bearer_headers,
    internal_headers,
    read_data,
    read_error,
    session_jwt,
)
from tests.forked_dex import run_dex_text
from tests.world import build_payload

SLUG = "icp-job-titles"
SPEC = "icp_job_titles"
OPERATION = "company.derive.icp_job_titles"


def insert_result(api: Api, org: str, output: dict[str, Any], status: str = "succeeded") -> str:
    """Insert a step result as the runner records it; return its id."""
    _, run = api.insert_submission(org)
    step = api.insert_step(run)
    api.execute(
        "update step_results set status = %s, output_payload = %s::jsonb, finished_at = clock_timestamp()"
        " where id = %s",
        [status, build_payload(OPERATION, output), step],
    )
    return step


async def fold_results(api: Api) -> None:
    (plan,) = [plan for plan in api.plans if plan.name == SPEC]
    await run_backfill(api.dsn, plan, Scope())


def insert_row(api: Api, org: str, *titles: str, domain: str = "acme.example") -> tuple[str, list[str]]:
    """Record research of a company once per title; return the id of its row and the step results."""
    steps = [
        insert_result(
            api,
            org,
            {
                "domain": f"https://www.{domain}/",
                "company_name": "Acme" if title == titles[0] else None,
                "parallel_run_id": f"trun_{title}",
                "parallel_raw_response": {"output": {"content": {"titles": [title]}}},
            },
        )
        for title in titles
    ]
    asyncio.run(fold_results(api))
    (row,) = read_data(api.query(SLUG, org, {"company_domain": domain}))
    return row["id"], steps


def get(api: Api, path: str, headers: dict[str, str], **parameters: str) -> Any:
    return api.client.get(f"/api/v1/{SLUG}/{path}", headers=headers, params=parameters)


def test_a_tenant_sees_why(api: Api, org: str) -> None:
    row_id, (first, second) = insert_row(api, org, "cto", "cfo")
    headers = bearer_headers(session_jwt(org))
    explained = read_data(get(api, f"{row_id}/explain", headers))
    assert (explained["id"], explained["state"]) == (row_id, "sourced")
    cells = {cell["field"]: cell for cell in explained["cells"]}
    assert cells["company_name"]["step_result_id"] == first and cells["processor"]["value"] is None
    assert cells["raw_parallel_output"]["step_result_id"] == second
    assert cells["company_domain"]["raw"] == "https://www.acme.example/"
    assert cells["company_domain"]["steps"] == [{"normalizer": "domain", "result": "acme.example"}]
    (cell,) = read_data(get(api, f"{row_id}/explain", headers, field="company_domain"))["cells"]
    assert cell == cells["company_domain"]


def test_history_is_newest_first(api: Api, org: str) -> None:
    row_id, steps = insert_row(api, org, "cto", "cfo", "ceo")
    headers = bearer_headers(api.insert_token(org))
    answer = get(api, f"{row_id}/history", headers)
    versions = read_data(answer)
    assert [version["step_result_id"] for version in versions] == steps[::-1]
    assert [version["row"]["raw_parallel_output"] for version in versions] == [
        {"titles": [title]} for title in ("ceo", "cfo", "cto")
    ]
    assert {version["row"]["company_name"] for version in versions} == {"Acme"}
    assert answer.json()["meta"] == {"more": False}
    answer = get(api, f"{row_id}/history", headers, limit="2")
    assert len(answer.json()["data"]) == 2 and answer.json()["meta"] == {"more": True}


def test_another_tenants_row_is_not_there(api: Api, org: str) -> None:
    row_id, _ = insert_row(api, org, "cto")
    other = api.insert_organisation()
    for headers in (
        bearer_headers(session_jwt(other)),
        internal_headers(other),
        bearer_headers(api.insert_token(other)),
    ):
        for path in (f"{row_id}/explain", f"{row_id}/history"):
            read_error(get(api, path, headers), 404, "not_found")
        known = read_data(get(api, "explain", headers, company_domain="acme.example"))
        assert (known["state"], known["known"], known["cells"]) == ("never_asked", [], [])
    for path in (f"{row_id}/explain", f"{row_id}/history", "explain"):
        assert get(api, path, {}).status_code == 401
    answer = get(api, f"{row_id}/explain", bearer_headers(session_jwt(other)), org_id=org)
    read_error(answer, 403, "other_organisation")


def test_row_level_security_stands_behind_the_condition(api: Api, org: str) -> None:
    """As the role that the endpoints take, another organisation's research is not there, whatever is asked."""
    insert_row(api, org, "cto")
    for tenant, seen in ((org, 1), (api.insert_organisation(), 0)):
        with psycopg.connect(api.dsn) as connection:
            connection.execute(
                "select set_config('role', 'dex_tenant', true), set_config('app.org_id', %s, true)", [tenant]
            )
            for table in ("step_results", "row_lineage", "step_persistence", SPEC, "pipeline_runs"):
                assert connection.execute(f"select count(*) from {table}".encode()).fetchone() == (seen,), table


def test_a_super_admin_names_the_organisation(api: Api, org: str) -> None:
    row_id, _ = insert_row(api, org, "cto")
    headers = bearer_headers(ADMIN_KEY)
    read_error(get(api, f"{row_id}/explain", headers), 400, "org_id_required")
    assert read_data(get(api, f"{row_id}/explain", headers, org_id=org))["id"] == row_id
    assert len(read_data(get(api, f"{row_id}/history", headers, org_id=org))) == 1


def test_a_key_without_a_row_says_what_is_known(api: Api, org: str) -> None:
    headers = bearer_headers(session_jwt(org))
    failed = insert_result(api, org, {"domain": "late.example"}, status="failed")
    known = read_data(get(api, "explain", headers, company_domain="www.late.example"))
    assert (known["id"], known["state"], known["known"][0]["step_result_id"]) == (None, "failed", failed)
    rejected = insert_result(api, org, {"domain": "empty.example"})
    asyncio.run(fold_results(api))
    known = read_data(get(api, "explain", headers, company_domain="empty.example"))
    assert (known["state"], known["known"][0]["step_result_id"]) == ("rejected", rejected)
    assert known["known"][0]["reasons"][0]["field"] == "raw_parallel_output"
    row_id, _ = insert_row(api, org, "cto")
    assert read_data(get(api, "explain", headers, company_domain="acme.example"))["id"] == row_id


def test_a_part_of_a_key_lists_the_rows_that_have_it(api: Api, org: str) -> None:
    citations = [{"url": f"https://{number}.example/"} for number in range(25)]
    basis = [{"field": "titles", "citations": citations}]
    output = {"parallel_run_id": "trun_1", "parallel_raw_response": {"output": {"content": {}, "basis": basis}}}
    step = insert_result(api, org, {"domain": "acme.example", **output})
    (plan,) = [plan for plan in api.plans if plan.name == "research_evidence"]
    asyncio.run(run_backfill(api.dsn, plan, Scope()))
    headers = bearer_headers(session_jwt(org))

    def ask(**key: str) -> Any:
        answer = api.client.get("/api/v1/research-evidence/explain", headers=headers, params=key)
        document = api.client.get("/openapi.json").json()
        described = document["paths"]["/api/v1/research-evidence/explain"]["get"]["responses"]["200"]
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json())
        return read_data(answer)

    several = ask(parallel_run_id="trun_1")
    assert (several["id"], several["state"], several["more"], len(several["rows"])) == (None, "several_rows", True, 20)
    assert "also give `field`, `citation`" in several["explanation"]
    one = several["rows"][0]
    assert ask(**one["key"])["id"] == one["id"]
    named = ("--org", org, "--key", "parallel_run_id=trun_1")
    done = run_dex(api, "explain", "research_evidence", *named)
    assert done.returncode == 0 and f"{one['id']}  parallel_run_id=trun_1, field=titles, citation=" in done.stdout
    missing = ask(parallel_run_id="trun_1", field="titles", citation="none")
    assert (missing["state"], missing["known"][0]["step_result_id"]) == ("not_listed", step)


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        ("0921f10b-890b-47ab-8ceb-b1986df51cbb/explain", {}, 404, "not_found"),
        ("none/explain", {}, 404, "not_found"),
        ("none/history", {}, 404, "not_found"),
        ("explain", {}, 422, "missing_required"),
        ("explain", {"company_domain": "no domain"}, 422, "not_normalized"),
        ("explain", {"company_name": "Acme"}, 422, "unknown_field"),
        ("0921f10b-890b-47ab-8ceb-b1986df51cbb/explain", {"field": "nothing"}, 422, "unknown_field"),
        ("0921f10b-890b-47ab-8ceb-b1986df51cbb/history", {"limit": "0"}, 422, "out_of_range"),
    ],
)
def test_what_cannot_be_answered(
    api: Api, org: str, path: str, parameters: dict[str, str], status: int, code: str
) -> None:
    read_error(get(api, path, bearer_headers(session_jwt(org)), **parameters), status, code)


def test_an_organisation_that_does_not_exist(api: Api) -> None:
    nobody = internal_headers("0921f10b-890b-47ab-8ceb-b1986df51cbb")
    for path, parameters in (
        ("0921f10b-890b-47ab-8ceb-b1986df51cbb/explain", {}),
        ("explain", {"company_domain": "a.com"}),
    ):
        read_error(get(api, path, nobody, **parameters), 404, "unknown_organisation")


def test_answers_are_as_openapi_describes_them(api: Api, org: str) -> None:
    document = api.client.get("/openapi.json").json()
    row_id, _ = insert_row(api, org, "cto", "cfo")
    headers = bearer_headers(session_jwt(org))
    for path, answer in (
        ("{id}/explain", get(api, f"{row_id}/explain", headers)),
        ("{id}/history", get(api, f"{row_id}/history", headers)),
        ("explain", get(api, "explain", headers, company_domain="acme.example")),
        ("explain", get(api, "explain", headers, company_domain="nobody.example")),
    ):
        described = document["paths"][f"/api/v1/{SLUG}/{path}"]["get"]["responses"]["200"]
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer.json())
    assert {"Explanation", "Cell", "Evidence", "KeyAbsence", "HistoryMeta"} <= document["components"]["schemas"].keys()


def run_dex(api: Api, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_dex_text(*words, environment={"DATABASE_URL": api.dsn})


def test_the_command_line_says_the_same(api: Api, org: str) -> None:
    row_id, steps = insert_row(api, org, "cto", "cfo")
    headers = bearer_headers(session_jwt(org))
    done = run_dex(api, "explain", SPEC, row_id, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == read_data(get(api, f"{row_id}/explain", headers))
    named = ("--org", org, "--key", "company_domain=Acme.example")
    assert run_dex(api, "explain", SPEC, *named, "--json").stdout == done.stdout
    (cell,) = json.loads(run_dex(api, "explain", SPEC, row_id, "company_name", "--json").stdout)["cells"]
    assert (cell["value"], cell["step_result_id"]) == ("Acme", steps[0])
    assert json.loads(run_dex(api, "explain", SPEC, "company_name", *named, "--json").stdout)["cells"] == [cell]
    history = json.loads(run_dex(api, "history", SPEC, row_id, "--json").stdout)
    assert history == read_data(get(api, f"{row_id}/history", headers))
    assert json.loads(run_dex(api, "history", SPEC, *named, "--json").stdout) == history
    text = run_dex(api, "explain", SPEC, row_id).stdout
    assert 'raw        "https://www.acme.example/"' in text and f"{row_id}: sourced" in text
    text = run_dex(api, "history", SPEC, row_id).stdout
    assert [line.split()[-1] for line in text.splitlines() if line[0] != " "] == steps[::-1]
    twice, _ = insert_row(api, org, "ceo", "ceo", domain="twice.example")
    assert run_dex(api, "history", SPEC, twice).stdout.splitlines()[1] == "    no value changed"
    missing = run_dex(api, "explain", SPEC, "--org", org, "--key", "company_domain=nobody.example")
    assert missing.returncode == 0 and "never_asked" in missing.stdout
    missing = run_dex(api, "history", SPEC, "--org", org, "--key", "company_domain=nobody.example")
    assert (missing.returncode, missing.stderr) == (0, "") and "it has no history" in missing.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "name the row either by its id"),
        (("no-uuid",), 2, "`no-uuid` is not a UUID"),
        (("--key", "company_domain=a.com"), 2, "`--key` needs `--org`"),
        (("--org", "0921f10b-890b-47ab-8ceb-b1986df51cbb", "--key", "company_domain"), 2, "is not `column=value`"),
        (("--org", "ORG", "--key", "a=b"), 2, "no conflict column"),
        (("--org", "0921f10b-890b-47ab-8ceb-b1986df51cbb", "--key", "company_domain=a.com"), 2, "no organisation"),
        (("0921f10b-890b-47ab-8ceb-b1986df51cbb", "--org", "ORG", "--key", "company_domain=a.com"), 2, "either by its"),
        (("0921f10b-890b-47ab-8ceb-b1986df51cbb",), 1, "there is no row"),
    ],
)
def test_wrong_words_are_named(api: Api, org: str, words: tuple[str, ...], status: int, said: str) -> None:
    for command in ("explain", "history"):
        done = run_dex(api, command, SPEC, *(org if word == "ORG" else word for word in words))
        assert done.returncode == status, done.stderr
        assert said in " ".join(done.stderr.replace("│", " ").split())


def test_the_typed_functions_say_the_same(api: Api, org: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row_id, _ = insert_row(api, org, "cto", "cfo")
    headers = bearer_headers(session_jwt(org))
    monkeypatch.setenv("DATABASE_URL", api.dsn)
    event_loop.close()
    try:
        assert explain_icp_job_titles(org_id=org, id=row_id) == read_data(get(api, f"{row_id}/explain", headers))
        assert list_icp_job_titles_history(org_id=org, id=row_id) == read_data(get(api, f"{row_id}/history", headers))
        with pytest.raises(RowMissing):
            explain_icp_job_titles(org_id=api.insert_organisation(), id=row_id)
    finally:
        event_loop.close()
