"""Call the generated typed functions as a program does, against a real Postgres."""

import inspect
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, is_typeddict

import psycopg
import pytest

from engine import generated, plans
from engine.functions import call
from engine.generated import (
    query_company_intel_briefings,
    query_icp_job_titles,
    query_person_intel_briefings,
    upsert_company_intel_briefing,
    upsert_icp_job_titles,
    upsert_person_intel_briefing,
)
from engine.project import find_project
from engine.provided_columns import PROVIDED_COLUMNS
from engine.rows.given_values import Refused
from engine.store.errors import StoreUnavailable
from engine.store.upsert import SourceRefused
from engine.tables import draft_migration
from engine.values.exact_json import dumps, loads
from tests.conftest import ROOT, create_database
from tests.world import insert_organisation


@pytest.fixture(scope="module")
def database(server_dsn: str, template: str) -> Iterator[str]:
    """A database for all tests here, each with an organisation of its own."""
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture
def org(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An organisation of the test's own, in the database that the functions find by `DATABASE_URL`."""
    monkeypatch.setenv("DATABASE_URL", database)
    with psycopg.connect(database, autocommit=True) as connection:
        org_id = insert_organisation(connection)
    yield org_id
    call.close()


def read_parameters(function: Any) -> dict[str, Any]:
    """Return the default of each parameter by name; all must be keyword-only."""
    parameters = inspect.signature(function).parameters.values()
    assert {one.kind for one in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    return {one.name: "needed" if one.default is inspect.Parameter.empty else one.default for one in parameters}


def test_the_signatures_are_the_directives() -> None:
    sources = {"source_submission_id": None, "source_pipeline_run_id": None}
    raw = {"raw_parallel_output": "needed", "parallel_run_id": None, "processor": None, **sources}
    provided = [name for name in PROVIDED_COLUMNS if name != "org_id"]
    page = {"limit": 100, "offset": 0, **dict.fromkeys(("order", "fields", "cursor", "count", *provided))}
    company = {"org_id": "needed", "company_domain": "needed", "company_name": None, "client_company_name": None}
    assert list(read_parameters(upsert_company_intel_briefing).items()) == list(
        {**company, "client_company_description": None, **raw}.items()
    )
    person = {
        "org_id": "needed",
        "person_full_name": "needed",
        "person_linkedin_url": None,
        "person_current_company_name": None,
        "person_current_job_title": None,
        "client_company_name": None,
        "client_company_description": None,
        "customer_company_name": None,
    }
    assert list(read_parameters(upsert_person_intel_briefing).items()) == list({**person, **raw}.items())
    titles = {"org_id": "needed", "company_domain": "needed", "company_name": None, "company_description": None}
    assert list(read_parameters(upsert_icp_job_titles).items()) == list({**titles, **raw}.items())
    filters = {"org_id": "needed", "company_domain": None, "client_company_name": None}
    assert list(read_parameters(query_company_intel_briefings).items()) == list({**filters, **page}.items())
    filters = {
        "org_id": "needed",
        "person_linkedin_url": None,
        "person_current_company_name": None,
        "client_company_name": None,
    }
    assert list(read_parameters(query_person_intel_briefings).items()) == list({**filters, **page}.items())
    filters = {"org_id": "needed", "company_domain": None}
    assert list(read_parameters(query_icp_job_titles).items()) == list({**filters, **page}.items())


def test_a_document_of_many_levels_is_stored_and_read_again(org: str) -> None:
    """Of as many as a backfill reads, since live rows and backfilled rows are the same."""
    deep = loads("[" * 900 + "]" * 900)
    stored = upsert_icp_job_titles(org_id=org, company_domain="deep.example.com", raw_parallel_output=deep)
    assert dumps(stored["raw_parallel_output"]) == dumps(deep)
    with pytest.raises(Refused, match="nested more than 900 levels deep"):
        upsert_icp_job_titles(org_id=org, company_domain="deep.example.com", raw_parallel_output={"a": [deep, [deep]]})


def test_the_annotations_are_the_directives_but_for_the_raw_body() -> None:
    upsert = inspect.signature(upsert_person_intel_briefing)
    assert upsert.parameters["person_full_name"].annotation is str
    assert upsert.parameters["person_linkedin_url"].annotation == str | None
    assert upsert.parameters["raw_parallel_output"].annotation is Any  # text and array reports are stored too
    assert upsert.return_annotation is generated.PersonIntelBriefingRow
    assert is_typeddict(generated.PersonIntelBriefingRow)  # a dict[str, Any] at run time
    query = inspect.signature(query_person_intel_briefings)
    assert query.parameters["limit"].annotation is int
    assert query.return_annotation == call.Rows[generated.PersonIntelBriefingRow]
    assert issubclass(call.Rows, list)


def test_the_package_exports_every_function() -> None:
    assert generated.__all__ == sorted(generated.__all__)
    assert "upsert_icp_job_titles" in generated.__all__
    assert all(callable(getattr(generated, name)) for name in generated.__all__)


def test_a_row_comes_back_as_it_was_written(org: str) -> None:
    body = loads('{"a": [1.10, 123456789012345678901234567890, 1e400, -0], "b": "text"}')
    stored = upsert_company_intel_briefing(
        org_id=org, company_domain="https://www.Acme.com/about", company_name="Acme", raw_parallel_output=body
    )
    assert stored["company_domain"] == "acme.com"
    assert stored["company_name"] == "Acme"
    assert stored["client_company_name"] is None
    assert stored["created_at"].startswith("20")
    assert "1.10" in dumps(stored["raw_parallel_output"]).decode()
    assert "123456789012345678901234567890" in dumps(stored["raw_parallel_output"]).decode()
    assert query_company_intel_briefings(org_id=org) == [stored]


def test_the_same_key_updates_the_row(org: str) -> None:
    first = upsert_person_intel_briefing(
        org_id=org,
        person_full_name="Jim Higgins",
        person_linkedin_url="https://LinkedIn.com/in/Jim/",
        client_company_name="SecurityPal",
        raw_parallel_output={"version": 1},
        parallel_run_id="trun_1",
    )
    second = upsert_person_intel_briefing(
        org_id=org, person_full_name="Jim Higgins", client_company_name="SecurityPal", raw_parallel_output="a report"
    )
    assert second["id"] == first["id"]
    assert second["raw_parallel_output"] == "a report"
    assert second["person_linkedin_url"] == first["person_linkedin_url"] == "https://linkedin.com/in/jim"
    assert second["parallel_run_id"] is None
    assert len(query_person_intel_briefings(org_id=org)) == 1


def test_filters_are_normalized_and_none_is_no_filter(org: str) -> None:
    for domain in ("acme.com", "globex.com"):
        upsert_icp_job_titles(org_id=org, company_domain=domain, raw_parallel_output=[domain])
    found = query_icp_job_titles(org_id=org, company_domain="https://WWW.ACME.com/")
    assert [row["company_domain"] for row in found] == ["acme.com"]
    newest_first = [row["company_domain"] for row in query_icp_job_titles(org_id=org, company_domain=None)]
    assert newest_first == ["globex.com", "acme.com"]
    assert [row["company_domain"] for row in query_icp_job_titles(org_id=org, limit=1, offset=1)] == ["acme.com"]


def test_a_source_is_stored_and_must_be_the_organisations(org: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(
            "insert into submissions (org_id, input_payload, status) values (%s, '{}', 'queued') returning id", [org]
        ).fetchone()
    assert row
    stored = upsert_icp_job_titles(
        org_id=org, company_domain="acme.com", raw_parallel_output={}, source_submission_id=str(row[0])
    )
    assert stored["source_submission_id"] == str(row[0])
    with pytest.raises(SourceRefused, match="`source_pipeline_run_id` does not belong"):
        upsert_icp_job_titles(
            org_id=org, company_domain="b.com", raw_parallel_output={}, source_pipeline_run_id=str(uuid.uuid4())
        )
    assert len(query_icp_job_titles(org_id=org)) == 1


def test_every_value_that_cannot_be_stored_is_named_at_once(org: str) -> None:
    with pytest.raises(Refused) as caught:
        upsert_company_intel_briefing(
            org_id=org,
            company_domain=" ",
            company_name=7,  # type: ignore[arg-type]
            raw_parallel_output=float("nan"),
            source_submission_id="first",
        )
    assert [(reason.code, reason.field) for reason in caught.value.reasons] == [
        ("missing_required", "company_domain"),
        ("wrong_type", "company_name"),
        ("wrong_type", "raw_parallel_output"),
        ("wrong_type", "source_submission_id"),
    ]
    assert caught.value.field == "company_domain"
    assert caught.value.hint
    assert query_company_intel_briefings(org_id=org) == []


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": [{"b": {1, 2}}]}, b"bytes", "a\0b", "\ud800"])
def test_what_is_no_json_is_refused(org: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        upsert_icp_job_titles(org_id=org, company_domain="acme.com", raw_parallel_output=value)
    assert caught.value.field == "raw_parallel_output"
    with pytest.raises(Refused):
        query_icp_job_titles(org_id=org, company_domain=value)


@pytest.mark.parametrize("bounds", [{"limit": 0}, {"limit": 1001}, {"limit": True}, {"offset": -1}])
def test_a_page_is_bounded(org: str, bounds: dict[str, int]) -> None:
    with pytest.raises(Refused) as caught:
        query_icp_job_titles(org_id=org, **bounds)
    assert caught.value.field in bounds


def test_pages_by_cursor_meet_each_row_once(org: str) -> None:
    for number in range(7):
        upsert_icp_job_titles(org_id=org, company_domain=f"c{number}.com", raw_parallel_output={})
    met: list[str] = []
    cursor = None
    while True:
        page = query_icp_job_titles(org_id=org, order=["company_domain"], limit=3, cursor=cursor, count="exact")
        met += [row["company_domain"] for row in page]
        assert page.total == 7
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert met == [f"c{number}.com" for number in range(7)]
    assert query_icp_job_titles(org_id=org).total is None
    with pytest.raises(Refused, match="does not belong to this query"):
        query_icp_job_titles(org_id=org, order=["-company_domain"], cursor=cursor)
    with pytest.raises(Refused, match="estimated"):
        query_icp_job_titles(org_id=org, count="all")  # type: ignore[arg-type]


def test_an_unknown_organisation_is_no_organisation_without_rows(org: str) -> None:
    stranger = str(uuid.uuid4())
    with pytest.raises(Refused, match="there is no organisation"):
        query_icp_job_titles(org_id=stranger)
    with pytest.raises(Refused, match="there is no organisation"):
        upsert_icp_job_titles(org_id=stranger, company_domain="acme.com", raw_parallel_output={})
    with pytest.raises(Refused, match="expected a UUID"):
        query_icp_job_titles(org_id="acme")


def test_rows_of_another_organisation_stay_unseen(org: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        other = insert_organisation(connection)
    upsert_icp_job_titles(org_id=org, company_domain="acme.com", raw_parallel_output={})
    assert query_icp_job_titles(org_id=other) == []


def test_many_threads_share_one_event_loop(org: str) -> None:
    failures: list[Exception] = []

    def write_rows(number: int) -> None:
        try:
            for _ in range(5):
                upsert_icp_job_titles(org_id=org, company_domain=f"host{number}.com", raw_parallel_output={"n": number})
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write_rows, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(query_icp_job_titles(org_id=org)) == 8
    assert [thread.name for thread in threading.enumerate()].count("dex-call") == 1


async def test_it_may_be_called_inside_a_running_event_loop(org: str) -> None:
    assert upsert_icp_job_titles(org_id=org, company_domain="acme.com", raw_parallel_output={})["org_id"] == org


def test_a_database_that_is_not_there_is_heard_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        query_icp_job_titles(org_id=str(uuid.uuid4()))
    call.close()


def test_it_works_from_any_folder_and_after_a_fork(org: str, database: str, tmp_path: Path) -> None:
    program = """
import os, sys
from engine.generated import query_icp_job_titles, upsert_icp_job_titles
org = sys.argv[1]
upsert_icp_job_titles(org_id=org, company_domain="parent.com", raw_parallel_output={})
child = os.fork()
if child == 0:
    upsert_icp_job_titles(org_id=org, company_domain="child.com", raw_parallel_output={})
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
print(sorted(row["company_domain"] for row in query_icp_job_titles(org_id=org)))
"""
    (tmp_path / "pyproject.toml").write_text("")  # somebody else's project, which knows none of our specs
    process = subprocess.run(
        [sys.executable, "-c", program, org],
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": database, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "['child.com', 'parent.com']"


CUSTOMERS = """\
spec: 1
name: customers
title: Customers
operations: [test.customers]
table: customers
row_name: customer
conflict: [org_id, name]
rows: output.customers
fields:
  name: {type: text, path: item.name, normalize: [trim, lower], required: true, filter: true}
  size: {type: integer, path: item.size}
  note: {type: text, path: item.note, on_missing: clear}
"""


@pytest.fixture
def customers(org: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The organisation, in a project whose one spec has `rows`, with its table made by a drafted migration."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "customers.yaml").write_text(CUSTOMERS)
    monkeypatch.chdir(tmp_path)
    (plan,) = plans.load_plans(find_project())
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.execute("select from pg_class where relname = 'customers'").fetchone() is None:
            connection.execute(draft_migration.build_create_migration(plan).encode())
    return org


def test_rows_are_written_together_and_the_last_of_a_key_wins(customers: str) -> None:
    rows = [{"name": "Meta", "size": 1, "note": "x"}, {"name": "Apple"}, {"name": " META ", "size": None, "note": None}]
    stored = call.upsert_many("customers", org_id=customers, rows=rows)
    assert [(row["name"], row["size"], row["note"]) for row in stored] == [("apple", None, None), ("meta", None, None)]
    assert len(call.query("customers", org_id=customers, filters={})) == 2
    assert [row["name"] for row in call.query("customers", org_id=customers, filters={"name": "APPLE"})] == ["apple"]


def test_one_bad_row_is_named_and_none_is_written(customers: str) -> None:
    rows = [{"name": "Meta"}, {"name": ""}, {"name": "Apple", "size": "1,200"}, {"name": "Acme", "colour": "red"}]
    with pytest.raises(Refused) as caught:
        call.upsert_many("customers", org_id=customers, rows=rows)
    found = [(reason.code, reason.field, reason.element) for reason in caught.value.reasons]
    assert found == [("missing_required", "name", 1), ("wrong_type", "size", 2), ("unknown_field", "colour", 3)]
    assert "rows[1]: `name` is required and missing" in str(caught.value)
    assert call.query("customers", org_id=customers, filters={}) == []


def test_no_rows_are_no_call(customers: str) -> None:
    assert call.upsert_many("customers", org_id=customers, rows=[]) == []


def test_an_unknown_spec_names_the_known_ones(org: str) -> None:
    with pytest.raises(plans.UnknownSpec) as caught:
        call.query("company_intel_briefing", org_id=org, filters={})
    assert "did you mean `company_intel_briefings`?" in caught.value.hint


def test_without_a_url_it_is_the_projects_embedded_database(tmp_path: Path) -> None:
    for name in ("specs", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text("")
    program = """
import asyncio
from engine.project import find_project
from engine.embedded_postgres import run_server
from engine.generated import query_icp_job_titles, upsert_icp_job_titles
from engine.store.connection import connect
from engine.tables.migrate import migrate

async def prepare(dsn, here):
    await migrate(dsn, here.migrations)
    async with await connect(dsn) as connection:
        await connection.execute("insert into orgs (id, name, slug) values (%s, 'a', 'a')", (org,))

org = "b0293785-aa7a-4234-8201-cc47305295f8"
here = find_project()
with run_server(here.data / "postgres", durable=False) as dsn:
    asyncio.run(prepare(dsn, here))
upsert_icp_job_titles(org_id=org, company_domain="acme.com", raw_parallel_output={})
print(len(query_icp_job_titles(org_id=org)))
"""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "1"
    assert (tmp_path / ".data" / "postgres").is_dir()
