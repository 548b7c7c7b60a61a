"""Behind pgbouncer with a plain URL, transaction and session mode: migrate, API, backfill, reconcile, claim, processes.

pgbouncer comes from the packages of the system; where it is not installed these tests are skipped, and say so.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from api.settings import Limits
from engine.store.connection import StoreConnection, connect
from scripts.processes import start_process
from tests import world
from tests.api.loopback import bearer_headers, read_error, run_api
from tests.forked_dex import run_dex_text
from tests.plain_http import find_free_port

PGBOUNCER = shutil.which(
    "pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
)

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (package `pgbouncer`)")

OPERATIONS = ("company.derive.icp_job_titles", "company.derive.intel_briefing", "person.derive.intel_briefing")
SPECS = ("icp_job_titles", "company_intel_briefings", "person_intel_briefings")


@contextmanager
def run_pooler(dsn: str, mode: str = "transaction", *, size: int | None = None, wait: int = 120) -> Iterator[str]:
    """Run a pooler of `size` server connections before the server of `dsn`; yield the URL through it.

    Nothing is added to the URL. A client waits for a connection for `wait` seconds.
    """
    size = size or (4 if mode == "transaction" else 40)
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    role = f"pooler_{uuid.uuid4().hex}"  # the server takes `postgres` from its own user alone; it goes with the server
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create role {role} superuser login password '{role}'")
    port = find_free_port()
    with tempfile.TemporaryDirectory(prefix="dex-pooler-") as folder:
        Path(folder).chmod(0o755)  # root may not run it, and whom it becomes reads its settings
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={query['host'][0]} port={query.get('port', ['5432'])[0]}"
            f" user={role} password={role}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 200\n"
            f"query_wait_timeout = {wait}\n",
            encoding="utf-8",
        )
        assert PGBOUNCER is not None
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        with start_process([PGBOUNCER, *user, settings]) as pooler:
            pooler.wait_for_line("process up")
            yield f"postgresql://postgres@127.0.0.1:{port}{parts.path}"


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    with run_pooler(database) as url:
        yield url


def insert_research(dsn: str, number: int) -> str:
    """Insert an organisation with `number` step results of each shipped operation; return its id."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        org = world.insert_organisation(connection)
        submission = world.insert_submission(connection, org)
        for position in range(number):
            run = world.insert_run(connection, org, submission)
            for step, operation in enumerate(OPERATIONS, start=1):
                output = {"domain": f"c{position}.com", "company_name": "C", "full_name": f"P{position}"}
                payload = world.build_payload(
                    operation, {**output, "parallel_raw_response": {"output": {"content": {}}}}
                )
                world.insert_step(connection, run, position=step, payload=payload)
    return org


def run_dex(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_dex_text(*arguments, environment={"DATABASE_URL": url}, seconds=300)


async def test_a_pooler_is_recognised_and_nothing_is_prepared(database: str, pooled: str) -> None:
    for url, threshold, is_pooled in [
        (database, 5, False),
        (pooled, None, True),
        (f"{pooled}?prepare_threshold=7", 7, True),
        (f"{database}&prepare_threshold=0", None, False),
    ]:
        async with await connect(url) as connection:
            assert isinstance(connection, StoreConnection)
            assert (connection.prepare_threshold, connection.behind_pooler) == (threshold, is_pooled), url


def test_migrations_backfills_and_accounts(empty_database: str) -> None:
    with run_pooler(empty_database) as url:
        migrated = run_dex(url, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        insert_research(empty_database, 40)
        with ThreadPoolExecutor(len(SPECS)) as threads:
            ended = list(threads.map(lambda spec: run_dex(url, "backfill", spec, "--batch-size", "10"), SPECS))
        assert [result.returncode for result in ended] == [0] * len(SPECS), [result.stderr for result in ended]
        reconciled = run_dex(url, "reconcile", "--json")
        assert reconciled.returncode == 0, reconciled.stderr
    with psycopg.connect(empty_database) as connection:
        for spec in SPECS:
            assert connection.execute(f"select count(*) from {spec}").fetchone() == (40,), spec


def test_a_backfill_keeps_its_lock_where_idle_transactions_are_ended(database: str, pooled: str) -> None:
    insert_research(database, 3)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'alter database "{connection.info.dbname}" set idle_in_transaction_session_timeout = 300')
    with psycopg.connect(database) as connection, ThreadPoolExecutor(1) as threads:
        connection.execute("set local idle_in_transaction_session_timeout = 0")
        connection.execute("lock table icp_job_titles in exclusive mode")
        backfill = threads.submit(run_dex, pooled, "backfill", "icp_job_titles")
        waiting = "select count(*) from pg_locks where not granted and relation = 'icp_job_titles'::regclass"
        for _ in range(600):
            if connection.execute(waiting).fetchone() == (1,):
                break
            time.sleep(0.1)
        time.sleep(1)  # longer than a transaction may be idle
        connection.commit()
        ended = backfill.result()
    assert ended.returncode == 0, ended.stderr
    assert "3 written" in ended.stdout


def test_a_pooler_without_a_free_connection_is_named(database: str) -> None:
    insert_research(database, 3)
    with run_pooler(database, size=1, wait=1) as url:
        ended = run_dex(url, "backfill", "icp_job_titles")
    assert ended.returncode == 1
    assert "had no connection free" in ended.stderr and "Traceback" not in ended.stderr
    assert run_dex(database, "backfill", "icp_job_titles").returncode == 0


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_api_in_two_processes_with_sixteen_organisations(database: str, mode: str) -> None:
    with (
        run_pooler(database, mode) as pooled,
        run_api(pooled) as first,
        run_api(pooled) as second,
        ThreadPoolExecutor(16) as threads,
    ):
        apis = (first, second)
        first.dsn = second.dsn = database
        orgs = [first.insert_organisation() for _ in range(16)]
        tokens = [first.insert_token(org) for org in orgs]

        def work(number: int) -> Counter[int]:
            statuses: Counter[int] = Counter()
            for turn in range(20):
                api = apis[turn % 2]
                body = {"company_domain": f"c{turn}.com", "raw_parallel_output": {"org": orgs[number]}}
                statuses[api.upsert("icp-job-titles", body, orgs[number]).status_code] += 1
                headers = bearer_headers(tokens[number])
                answer = api.post("/api/v1/icp-job-titles/query", {"limit": 50}, headers=headers)
                statuses[answer.status_code] += 1
                owners = {row["org_id"] for row in answer.json()["data"]}
                assert owners == {orgs[number]}
            return statuses

        assert sum(threads.map(work, range(16)), Counter()) == {200: 16 * 20 * 2}
        assert first.client.get("/readyz").json() == {"data": {"status": "ready"}}
        _, run_id = first.insert_submission(orgs[0])
        first.execute("update pipeline_runs set status = 'queued' where id = %s", [run_id])
        claimed = first.call_runner("pipeline-runs/claim", {"worker": "w"}).json()["data"]
        assert claimed["id"] == run_id


def test_a_locked_table_is_given_up_behind_a_pooler_too(database: str, pooled: str) -> None:
    with run_api(pooled, limits=Limits(lock_seconds=1)) as api:
        api.dsn = database
        org = api.insert_organisation()
        with api.hold_locks("lock table icp_job_titles in access exclusive mode"):
            read_error(api.query("icp-job-titles", org), 503, "database_busy")
            assert api.query("company-intel-briefings", org).status_code == 200


def test_a_statement_of_another_client_is_no_misfit_of_a_table(database: str, pooled: str) -> None:
    """Where statements are prepared by hand although a pooler hands their connection on."""
    with run_api(f"{pooled}?prepare_threshold=1") as api, ThreadPoolExecutor(16) as threads:
        api.dsn = database
        org = api.insert_organisation()
        answers = list(threads.map(lambda _: api.query("icp-job-titles", org), range(200)))
        codes = {answer.json()["code"] for answer in answers if answer.status_code != 200}
        # The statement of another client takes the values for its own, and may refuse them.
        assert codes <= {"pooler_loses_statements", "database_unavailable", "refused_by_database"}
