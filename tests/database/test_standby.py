"""A real standby serves reads and names what it cannot do."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.api.loopback import Api, bearer_headers, read_data, read_error, run_api
from tests.conftest import migrate_template
from tests.system_postgres import Server, needs_system_postgres, run_program, run_system_postgres, start_server

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
