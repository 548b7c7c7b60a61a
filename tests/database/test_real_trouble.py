"""A standby and a full disk, real ones: what works goes on, and what does not is named."""

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.api.loopback import Api, bearer_headers, read_data, read_error, run_api
from tests.conftest import migrate_template
from tests.system_postgres import USER, Server, needs_system_postgres, run_program, run_system_postgres, start_server

pytestmark = needs_system_postgres

QUERY = "/api/v1/icp-job-titles/query"
ROW = {"company_domain": "acme.com", "raw_parallel_output": {"a": 1}}


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    """A server with the migrations and the logins."""
    with run_system_postgres() as server:
        asyncio.run(migrate_template(server.build_url()))
        yield server


@contextmanager
def run_standby(primary: Server) -> Iterator[Server]:
    """Run a standby that follows the primary."""
    data = primary.folder / "standby"
    given = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "--checkpoint=fast", "--no-sync")
    run_program("pg_basebackup", "-D", data, "--write-recovery-conf", *given, password=primary.password)
    with start_server(primary.folder, data, primary.password) as standby:
        yield standby


@contextmanager
def mount_small_disk() -> Iterator[Path]:
    """Mount a disk of 16 MB for the server's user within a `with` block."""
    with tempfile.TemporaryDirectory(prefix="dex-disk-") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("this machine lets nobody mount a disk")
        try:
            shutil.chown(folder, USER)
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_standby_serves_reads(primary: Server) -> None:
    with run_api(primary.build_url()) as api:
        org = api.insert_organisation()
        token = bearer_headers(api.insert_token(org))
        assert api.upsert("icp-job-titles", ROW, org).status_code == 200
    with run_standby(primary) as standby, run_api(standby.build_url(), grant=False) as api:
        wait_for_rows(api, token)
        ready = read_data(api.client.get("/readyz"))
        assert [problem["code"] for problem in ready["problems"]] == ["database_read_only"]
        read_error(api.upsert("icp-job-titles", ROW, org), 503, "database_read_only")


def wait_for_rows(api: Api, token: dict[str, str]) -> None:
    """Wait until the standby has what the primary stored."""
    deadline = time.monotonic() + 30
    while not read_data(api.post(QUERY, {}, headers=token)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_full_disk_is_named_and_reads_go_on(primary: Server) -> None:
    with mount_small_disk() as disk, run_api(primary.build_url()) as api:
        org = api.insert_organisation()
        assert api.upsert("icp-job-titles", ROW, org).status_code == 200
        with psycopg.connect(primary.build_url(), autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{disk}'")
            connection.execute("alter table icp_job_titles set tablespace small")
            connection.execute("create table filler (text text) tablespace small")
            with pytest.raises(psycopg.errors.DiskFull):
                connection.execute(
                    "insert into filler select repeat(md5(n::text), 10) from generate_series(1, 100000) n"
                )
                connection.execute("insert into filler select md5(n::text) from generate_series(1, 100000) n")
            large = {**ROW, "company_domain": "other.com", "raw_parallel_output": list(range(200_000))}
            read_error(api.upsert("icp-job-titles", large, org), 503, "database_full")
            assert [problem["code"] for problem in read_data(api.client.get("/readyz"))["problems"]] == [
                "database_full"
            ]
            assert [row["company_domain"] for row in read_data(api.query("icp-job-titles", org))] == ["acme.com"]
            connection.execute("drop table filler")
            connection.execute("checkpoint")
            assert api.upsert("icp-job-titles", large, org).status_code == 200
            connection.execute("alter table icp_job_titles set tablespace pg_default")
            connection.execute("drop tablespace small")
