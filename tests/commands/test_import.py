"""`dex import`: research from files becomes step results and rows, or nothing is stored."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT, create_database
from tests.forked_dex import run_dex_text
from tests.world import fetch_rows, insert_organisation

CASE = ROOT / "tests" / "cases" / "good" / "icp_job_titles"
ICP = "company.derive.icp_job_titles"


@pytest.fixture(scope="module")
def database(server_dsn: str, template: str) -> Iterator[str]:
    with create_database(server_dsn, template) as dsn:
        yield dsn


@pytest.fixture
def org(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        return insert_organisation(connection)


def run_import(dsn: str, *words: object, status: int = 0) -> "subprocess.CompletedProcess[str]":
    done = run_dex_text("import", *map(str, words), environment={"DATABASE_URL": dsn})
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_each_file_is_a_step_result_and_its_rows(database: str, org: str, tmp_path: Path) -> None:
    output = json.loads((CASE / "step_output.json").read_text())
    payload = {"operation_result": {"operation_id": ICP, "status": "found", "output": {**output, "domain": "b.test"}}}
    exact = tmp_path / "exact.json"
    exact.write_text(json.dumps({**output, "domain": "c.test", "number": "@"}).replace('"@"', "1.50"))
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps({"output_payload": payload, "input_payload": {"given": 1}}))
    files = (CASE / "step_output.json", whole, exact)
    report = json.loads(run_import(database, "icp_job_titles", *files, "--org", org, "--json").stdout)
    assert (report["found"], report["written"], report["pending"]) == (3, 3, 0)
    rows = fetch_rows(
        database,
        "select source_step_result_id::text from icp_job_titles"
        " where org_id = %s and source_submission_id = %s order by source_recorded_at",
        org,
        report["submission_id"],
    )
    assert [step for (step,) in rows] == report["step_results"]
    stored = fetch_rows(
        database,
        "select count(distinct pipeline_run_id), string_agg(input_payload ->> 'given', ','),"
        " max(output_payload #>> '{operation_result,output,number}') from step_results where submission_id = %s",
        report["submission_id"],
    )
    assert stored == [(3, "1", "1.50")]


def test_the_later_file_of_one_key_is_newer(database: str, org: str, tmp_path: Path) -> None:
    output = json.loads((CASE / "step_output.json").read_text())
    for name in ("first", "second"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**output, "company_name": name}))
    files = (tmp_path / "second.json", tmp_path / "first.json")
    run_import(database, "icp_job_titles", *files, "--org", org)
    assert fetch_rows(database, "select company_name from icp_job_titles where org_id = %s", org) == [("first",)]


def test_one_file_that_cannot_be_stored_keeps_all_out(database: str, org: str, tmp_path: Path) -> None:
    broken = {
        "no_json.json": "{",
        "lines.jsonl": '{"domain": "a.test"}\n{"domain": "b.test"}\n',
        "nul.json": '{"domain": "a\\u0000b"}',
        "other.json": json.dumps({"operation_result": {"operation_id": "x.y.z", "status": "found", "output": {}}}),
        "failed.json": json.dumps({"operation_result": {"operation_id": ICP, "status": "failed", "output": {}}}),
        "list.json": json.dumps([{"domain": "a.test"}, {"domain": "b.test"}]),
    }
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    files = (CASE / "step_output.json", *(tmp_path / name for name in broken), tmp_path / "absent.json")
    errors = run_import(database, "icp_job_titles", *files, "--org", org, status=2).stderr
    for name, words in {
        "no_json.json": "not JSON",
        "lines.jsonl": "extra data at line 2 column 1; a file takes one JSON document: save each line of JSON Lines",
        "nul.json": "a NUL character",
        "other.json": "its operation is `x.y.z`",
        "failed.json": "its status is `failed`",
        "list.json": "its output is of the type `array`",
        "absent.json": "No such file",
    }.items():
        line = next(line for line in errors.splitlines() if name in line)
        assert words in line
    assert fetch_rows(database, "select count(*) from submissions where org_id = %s", org) == [(0,)]


def test_what_is_rejected_ends_with_one(database: str, org: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    report = json.loads(
        run_import(database, "icp_job_titles", tmp_path / "empty.json", "--org", org, "--json", status=1).stdout
    )
    assert report["rejected"] == 1
    assert {reason["field"] for reason in report["reasons"]} == {"company_domain", "raw_parallel_output"}
    covered = run_dex_text("coverage", "--org", org, environment={"DATABASE_URL": database}).stdout
    counts = covered.partition("icp_job_titles: reasons on record\n")[2]
    assert sorted(counts.splitlines()) == [
        "  1 x missing_required in `company_domain`",
        "  1 x missing_required in `raw_parallel_output`",
    ], covered


def test_an_unknown_organisation_is_named(database: str) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    done = run_import(database, "icp_job_titles", CASE / "step_output.json", "--org", nobody, status=2)
    assert f"there is no organisation `{nobody}`" in done.stderr
