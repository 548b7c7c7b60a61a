"""The runner's endpoints over a database that was adopted: there the statuses are enums, under names of its own."""

from collections.abc import Iterator

import psycopg
import pytest

from engine.tables.migrate import migrate
from tests.api.loopback import Api, internal_headers, read_data, run_api
from tests.api.test_runs import build_payload, claim_run, insert_queued_run
from tests.conftest import ROOT

FOLDER = ROOT / "migrations"
#: table -> the words of its status, as the system this grew out of has them.
STATUSES = {
    "submissions": "received validated queued running completed failed canceled",
    "pipeline_runs": "queued running succeeded failed canceled",
    "step_results": "queued running succeeded failed skipped retrying",
}


@pytest.fixture
async def adopted(empty_database: str, template: str) -> str:  # the template brings the logins
    """A database in which the first 16 were applied by hand, with enums, and then adopted."""
    with psycopg.connect(empty_database, autocommit=True) as owner:
        for file in sorted(FOLDER.glob("*.sql")):
            if int(file.name[:3]) <= 16:
                owner.execute(file.read_bytes())
        for table, words in STATUSES.items():
            listed = ", ".join(f"'{word}'" for word in words.split())
            owner.execute(
                f"create type status_of_{table} as enum ({listed});"
                f"alter table {table} drop constraint {table}_status_check, alter status drop default,"
                f" alter status type status_of_{table} using status::status_of_{table};".encode()
            )
    await migrate(empty_database, FOLDER, baseline=16)
    return empty_database


@pytest.fixture
def adopted_api(adopted: str) -> Iterator[Api]:
    with run_api(adopted) as running_api:
        yield running_api


def test_a_run_goes_its_way(adopted_api: Api) -> None:
    api, org = adopted_api, adopted_api.insert_organisation()
    run = insert_queued_run(api, org)
    submission = api.fetch_value("select submission_id::text from pipeline_runs where id = %s", [run])
    found, skipped = api.insert_step(run, 1), api.insert_step(run, 2)
    lease = claim_run(api, org)["lease_token"]

    def sync() -> str:
        return str(read_data(api.call_runner("submissions/sync-status", {"submission_id": submission}))["status"])

    assert sync() == "running"
    for words in ({"status": "running"}, {"status": "succeeded", "output_payload": build_payload()}):
        read_data(api.call_runner("step-results/update", {"step_result_id": found, "lease_token": lease, **words}))
    read_data(api.call_runner("step-results/mark-remaining-skipped", {"pipeline_run_id": run, "from_step_position": 1}))
    done = {"pipeline_run_id": run, "status": "succeeded", "lease_token": lease}
    assert read_data(api.call_runner("pipeline-runs/update-status", done))["persistence"][0]["written"] == 1
    assert sync() == "completed"
    statuses = api.execute("select status::text from step_results where id = any(%s) order by 1", [[found, skipped]])
    assert statuses == [("skipped",), ("succeeded",)]


@pytest.mark.parametrize("status", STATUSES["pipeline_runs"].split())
def test_every_status_of_a_run_is_taken(adopted_api: Api, status: str) -> None:
    _, run = adopted_api.insert_submission(adopted_api.insert_organisation())
    said = read_data(adopted_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": status}))
    assert said["status"] == status


def test_a_submission_is_made(adopted_api: Api) -> None:
    body = {"steps": [{"operation_id": "company.derive.icp_job_titles"}], "inputs": [{"domain": "a.com"}]}
    made = read_data(
        adopted_api.post("/api/v1/submissions", body, headers=internal_headers(adopted_api.insert_organisation()))
    )
    assert (made["status"], len(made["pipeline_runs"])) == ("queued", 1)
