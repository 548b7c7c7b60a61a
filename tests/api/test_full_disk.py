"""The disk of the database is full: what needs no room goes on, nothing is lost, and it ends when there is room."""

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.loopback import Api, read_data, read_error
from tests.world import build_payload

SLUG, TABLE = "icp-job-titles", "icp_job_titles"
OPERATION = "company.derive.icp_job_titles"


@pytest.fixture
def small_disk(own_api: Api) -> Iterator[Path]:
    """Put the table of one spec on a disk of 4 MB; yield where that is mounted."""
    # Not in pytest's own folder, which the server's user may not enter: another run of pytest closes it again.
    folder = Path(tempfile.mkdtemp(prefix="dex-disk-"))
    owner = Path(own_api.fetch_value("show data_directory")).stat()
    options = f"size=4m,uid={owner.st_uid},gid={owner.st_gid},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        own_api.execute(f"create tablespace small location '{folder}'")
        own_api.execute(f"alter table {TABLE} set tablespace small")
        yield folder
        own_api.execute(f"alter table {TABLE} set tablespace pg_default")
        own_api.execute("drop tablespace small")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # somebody may be looking into it
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_loses_nothing_and_ends_when_there_is_room(own_api: Api, small_disk: Path) -> None:
    org = own_api.insert_organisation()
    _, run = own_api.insert_submission(org)
    stored = []
    for number in range(20):
        body = {"company_domain": f"c{number}.com", "raw_parallel_output": {"noise": secrets.token_hex(500_000)}}
        answer = own_api.upsert(SLUG, body, org)
        if answer.status_code != 200:
            break
        stored.append(read_data(answer)["id"])
    error = read_error(answer, 503, "database_full")
    assert "full" in error["error"] and stored

    ready = own_api.client.get("/readyz")
    assert ready.status_code == 200 and ready.json()["data"]["problems"][0]["code"] == "database_full"
    assert own_api.client.get("/healthz").status_code == 200
    rows = read_data(own_api.query(SLUG, org, {"fields": ["id"]}))
    assert {row["id"] for row in rows} == set(stored), "what was answered is there"
    other = {"company_domain": "a.com", "raw_parallel_output": 1}
    assert own_api.upsert("company-intel-briefings", other, org).status_code == 200

    step = own_api.insert_step(run)
    document = {"domain": "late.com", "parallel_raw_response": {"noise": secrets.token_hex(500_000)}}
    payload = json.loads(build_payload(OPERATION, document))
    change = {"step_result_id": step, "status": "succeeded", "output_payload": payload}
    recorded = own_api.call_runner("step-results/update", change)
    assert recorded.status_code == 200, "research is kept: its table has room"
    ended = own_api.call_runner("pipeline-runs/update-status", {"pipeline_run_id": run, "status": "succeeded"})
    assert ended.status_code == 200
    assert own_api.fetch_value("select count(*) from pending_results where spec = %s", [TABLE]) == 1

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    (swept,) = (one for one in read_data(own_api.call_runner("reconcile", {})) if one["spec"] == TABLE)
    assert (swept["found"], swept["written"], swept["pending"]) == (1, 1, 0)
    assert own_api.upsert(SLUG, body, org).status_code == 200
    assert own_api.fetch_value(f"select count(*) from {TABLE}") == len(stored) + 2
