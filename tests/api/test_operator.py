"""Alive, ready, and why not: each way in which a table does not fit its spec, and the SQL that mends it."""

import asyncio
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.app import create_app
from engine.tables.rebuild import rebuild_spec
from tests.api.loopback import Api, build_settings, read_error, serve_app
from tests.conftest import ROOT, load_project_plans
from tests.plain_http import HTTP

TABLE = "company_intel_briefings"
REBUILD = f"where the rows do not fit: dex rebuild {TABLE}"
INDEX = "idx_company_intel_briefings_dedup"
KEY = "(org_id, company_domain, client_company_name)"


def list_reasons(api: Api) -> list[dict[str, Any]]:
    """List what `/readyz` reports: problems of some specs while others are served, or the reasons why none is."""
    answer = api.client.get("/readyz")
    if answer.status_code == 200:
        data = answer.json()["data"]
        assert data["status"] == "ready"
        if "problems" not in data:
            assert data == {"status": "ready"}
            return []
        misfits = {problem["spec"] for problem in data["problems"] if "spec" in problem}
        assert {spec for spec, state in data["specs"].items() if state == "not_ready"} == misfits
        return list(data["problems"])
    error = read_error(answer, 503, "not_ready")
    assert error["error"].startswith("not ready: ")
    return list(error["detail"])


def test_alive(api: Api) -> None:
    assert api.client.get("/healthz").json() == {"data": {"status": "ok"}}


def test_ready(api: Api) -> None:
    assert list_reasons(api) == []
    assert "dex_ready 1.0" in api.client.get("/metrics").text


#: What is done to the table -> the code that says so, and a word of the sentence. The SQL that comes with it mends it.
BROKEN: list[tuple[str, str, str, str]] = [
    ("a column is gone", f"alter table {TABLE} drop column processor", "TABLE502", "`processor`"),
    (
        "a provided column is gone",
        f"alter table {TABLE} drop column source_recorded_at",
        "TABLE502",
        "`source_recorded_at`",
    ),
    ("a type differs", f"alter table {TABLE} alter column parallel_run_id type bigint using 1", "TABLE503", "`bigint`"),
    (
        "a text is cut",
        f"alter table {TABLE} alter column processor type varchar(10)",
        "TABLE503",
        "character varying(10)",
    ),
    ("the index is gone", f"drop index {INDEX}", "TABLE504", "no unique index"),
    (
        "the index is partial",
        f"drop index {INDEX}; create unique index u on {TABLE} {KEY} where processor is not null",
        "TABLE504",
        "`u` is partial",
    ),
    (
        "the index has an expression",
        f"drop index {INDEX};"
        f" create unique index u on {TABLE} (org_id, company_domain, coalesce(client_company_name, ''))",
        "TABLE504",
        "`u` has expressions",
    ),
    ("the index is not unique", f"drop index {INDEX}; create index u on {TABLE} {KEY}", "TABLE504", "no unique index"),
    (
        "the index is too narrow",
        f"drop index {INDEX}; create unique index u on {TABLE} (org_id, company_domain)",
        "TABLE504",
        "no unique index",
    ),
    (
        "the index is too wide",
        f"drop index {INDEX};"
        f" create unique index u on {TABLE} (org_id, company_domain, client_company_name, processor)",
        "TABLE504",
        "no unique index",
    ),
    (
        "the index is deferrable",
        f"drop index {INDEX}; alter table {TABLE} add constraint u unique nulls not distinct {KEY} deferrable",
        "TABLE504",
        "`u` is deferrable",
    ),
    (
        "the index is invalid",
        f"drop index {INDEX}; create unique index u on {TABLE} {KEY} nulls not distinct;"
        " update pg_index set indisvalid = false where indexrelid = 'u'::regclass",
        "TABLE504",
        "`u` is invalid",
    ),
    (
        "nulls are distinct",
        f"drop index {INDEX}; create unique index u on {TABLE} {KEY}",
        "TABLE505",
        "`client_company_name`",
    ),
    ("a column nobody feeds", f"alter table {TABLE} add column extra text not null", "TABLE506", "`extra`"),
    ("an id without a default", f"alter table {TABLE} alter column id drop default", "TABLE506", "`id`"),
    ("row level security is off", f"alter table {TABLE} disable row level security", "TABLE507", "row level security"),
    ("the policy is gone", f"drop policy tenant on {TABLE}", "TABLE508", "SELECT"),
    ("a policy lets everything through", f"create policy wide on {TABLE} using (true)", "TABLE509", "`wide`"),
    (
        "a policy forgets what is written",
        f"drop policy tenant on {TABLE}; create policy tenant on {TABLE} to dex_tenant"
        " using (org_id = current_setting('app.org_id')::uuid) with check (true)",
        "TABLE509",
        "`tenant`",
    ),
    ("a right is gone", f"revoke insert on {TABLE} from dex_tenant", "TABLE510", "INSERT"),
    (
        "a column is generated",
        f"alter table {TABLE} drop column processor;"
        f" alter table {TABLE} add column processor text generated always as ('x') stored",
        "TABLE511",
        "`processor`",
    ),
    (
        "a value may be missing",
        f"alter table {TABLE} alter column company_name set not null",
        "TABLE512",
        "`company_name`",
    ),
]


@pytest.mark.parametrize(("sql", "code", "word"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_what_does_not_fit_is_named_and_its_sql_mends_it(own_api: Api, sql: str, code: str, word: str) -> None:
    own_api.execute(sql)
    (reason,) = list_reasons(own_api)
    assert (reason["spec"], reason["code"]) == (TABLE, code)
    assert word in reason["message"]
    assert "dex_ready 0.0" in own_api.client.get("/metrics").text
    own_api.execute(reason["sql"])
    if code == "TABLE504" and "`u` is" in reason["message"]:
        own_api.execute(f"alter table {TABLE} drop constraint if exists u; drop index if exists u")
    assert list_reasons(own_api) == []
    answer = own_api.upsert(
        "company-intel-briefings", {"company_domain": "a.com", "raw_parallel_output": 1}, own_api.insert_organisation()
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("parallel_run_id type timestamptz using now()", f"-- or write `type: timestamptz` in the spec; {REBUILD}"),
        ("parallel_run_id type varchar(10)", f"-- {REBUILD}"),
        ("source_recorded_at type text", ""),
    ],
)
def test_the_spec_is_told_to_say_only_what_a_spec_can_say(own_api: Api, change: str, advice: str) -> None:
    own_api.execute(f"alter table {TABLE} alter column {change}")
    (reason,) = list_reasons(own_api)
    assert reason["code"] == "TABLE503"
    assert reason["sql"].partition(";")[2].strip() == advice


def test_a_key_column_that_is_gone_comes_back_with_an_index_that_counts_its_nulls(own_api: Api) -> None:
    own_api.execute("alter table icp_job_titles drop column company_domain")
    found = list_reasons(own_api)
    assert [item["code"] for item in found] == ["TABLE502", "TABLE504"]
    for reason in found:
        own_api.execute(reason["sql"])
    assert list_reasons(own_api) == []


def test_a_table_that_is_not_there(own_api: Api) -> None:
    own_api.execute(f"drop table {TABLE} cascade")
    assert [(reason["code"], reason["sql"]) for reason in list_reasons(own_api)] == [
        ("TABLE501", f"-- dex draft-migration {TABLE}, then dex migrate")
    ]


def test_an_upsert_into_a_table_that_does_not_fit_points_at_readiness(own_api: Api) -> None:
    own_api.execute(f"alter table {TABLE} drop column processor")
    body = {"company_domain": "a.com", "raw_parallel_output": 1}
    answer = own_api.upsert("company-intel-briefings", body, own_api.insert_organisation())
    assert (answer.status_code, answer.json()["code"]) == (503, "table_misfit")
    assert "/readyz" in answer.json()["hint"]


def test_ready_while_a_rebuild_swaps_a_table(own_api: Api) -> None:
    """The check waits for the table that is being dropped, and then reads the one that has its name."""
    (plan,) = (plan for plan in own_api.plans if plan.table == TABLE)
    waiting = "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(own_api.dsn) as user, own_api.connect_owner() as owner, ThreadPoolExecutor() as others:

        def hold_new_table(line: str) -> None:
            if "0 of 0" in line:
                user.execute(f'select from "{TABLE}_Rebuild"'.encode())

        rebuilding = others.submit(asyncio.run, rebuild_spec(own_api.dsn, plan, report=hold_new_table))
        while not any("rename to" in query for (query,) in owner.execute(waiting).fetchall()):
            assert not rebuilding.done(), rebuilding.result()
            time.sleep(0.001)
        asked = others.submit(list_reasons, own_api)
        while len(owner.execute(waiting).fetchall()) < 2 and not asked.done():
            time.sleep(0.001)
        user.commit()
        assert asked.result() == []
        rebuilding.result()
    org, row = own_api.insert_organisation(), {"company_domain": "acme.com", "raw_parallel_output": {"a": 1}}
    assert own_api.upsert(plan.slug, row, org).status_code == 200, "its login may write what it could write before"
    assert len(own_api.query(plan.slug, org).json()["data"]) == 1


def test_every_problem_is_named_at_once(own_api: Api) -> None:
    own_api.execute(f"alter table {TABLE} drop column processor, disable row level security")
    own_api.execute("drop index idx_icp_job_titles_dedup")
    assert [(reason["spec"], reason["code"]) for reason in list_reasons(own_api)] == [
        (TABLE, "TABLE502"),
        (TABLE, "TABLE507"),
        ("icp_job_titles", "TABLE504"),
    ]


def test_a_pending_migration(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", folder)
    (folder / "999_one_more.sql").write_text("select 1;", encoding="utf-8")
    settings = build_settings(database)
    app = create_app(settings, load_project_plans(), folder)
    with serve_app(app, settings) as url:
        answer = HTTP.get(f"{url}/readyz")
    (reason,) = answer.json()["detail"]
    assert (answer.status_code, reason["code"], reason["sql"]) == (503, "TABLE514", "-- dex migrate")
    assert "999_one_more" in reason["message"]


def test_an_empty_database_is_alive_and_not_ready(empty_database: str) -> None:
    settings = build_settings(empty_database)
    app = create_app(settings, load_project_plans(), ROOT / "migrations")
    with serve_app(app, settings) as url:
        assert HTTP.get(f"{url}/healthz").status_code == 200
        codes = {reason["code"] for reason in HTTP.get(f"{url}/readyz").json()["detail"]}
    assert codes == {"TABLE514", "TABLE501"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_open_to_anyone(api: Api, path: str) -> None:
    assert api.client.get(path).status_code == 200


def test_metrics_are_text(api: Api) -> None:
    assert api.client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_unknown_routes_and_methods(api: Api, start: Callable[..., AbstractContextManager[Api]]) -> None:
    said = api.client.get("/nowhere")
    assert (said.status_code, said.json()["code"]) == (404, "unknown_route")
    assert "GET /nowhere" in said.json()["error"] and "/openapi.json" in said.json()["hint"]
    for method, path in [("POST", "/api/v1/icp_job_titles/query"), ("GET", "/api/v1/icp-job-titles")]:
        hint = api.client.request(method, path).json()["hint"]
        assert hint.startswith("rows of `icp_job_titles`: `POST /api/v1/icp-job-titles/query`; `GET /openapi.json`")
    for method, path, allowed in [
        ("GET", "/api/internal/company-intel-briefings/upsert", {"POST"}),
        ("DELETE", "/api/v1/company-intel-briefings/query", {"POST"}),
        ("PUT", "/api/v1/submissions", {"POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("PATCH", "/api/v1/submissions/x", {"GET", "HEAD"}),
    ]:
        answer = api.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == allowed
    assert api.client.post("/api/internal/no-such-spec/upsert").status_code == 404
    assert api.client.head("/healthz").status_code == 200
