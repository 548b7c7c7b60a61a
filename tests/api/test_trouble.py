"""Tables that are locked or slow, connections that died, servers that take no writes, people who were switched off."""

import base64
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from api.settings import Limits
from tests.api.loopback import (
    INTERNAL_KEY,
    JWT_SECRET,
    Api,
    bearer_headers,
    internal_headers,
    read_data,
    read_error,
    session_jwt,
)

SLUG = "icp-job-titles"
OTHER = "company-intel-briefings"
QUERY = f"/api/v1/{SLUG}/query"
Start = Callable[..., AbstractContextManager[Api]]


def measure(call: Callable[[], httpx.Response]) -> tuple[int, float]:
    """Return the status of an answer and the seconds it took."""
    started = time.monotonic()
    return call().status_code, time.monotonic() - started


def wait_until(api: Api, sql: str, value: Any = True) -> None:
    """Wait until a query gives `value`."""
    deadline = time.monotonic() + 20
    while api.fetch_value(sql) != value:
        assert time.monotonic() < deadline, sql
        time.sleep(0.05)


WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def test_a_locked_table_slows_its_own_spec_only(start: Start) -> None:
    with start(pool_size=4, limits=Limits(lock_seconds=5)) as api, ThreadPoolExecutor(10) as threads:
        org = api.insert_organisation()
        body = {"company_domain": "a.com", "raw_parallel_output": {"a": 1}}
        with api.hold_locks("lock table icp_job_titles in access exclusive mode"):
            blocked = [threads.submit(api.upsert, SLUG, body, org) for _ in range(10)]
            wait_until(api, WAITING, 2)
            for call in (
                lambda: api.query(OTHER, org),
                lambda: api.client.get("/readyz"),
                lambda: api.client.get("/healthz"),
                lambda: api.call_runner("pipeline-runs/claim", {"worker": "w"}),
            ):
                status, seconds = measure(call)
                assert (status, seconds < 3) == (200, True), seconds
            for answer in [future.result() for future in blocked]:
                hint = read_error(answer, 503, "database_busy")["hint"]
                assert "rolled back" in hint or "it is not known" in hint  # the second where no connection was free
                assert answer.headers["retry-after"]
        assert api.upsert(SLUG, body, org).status_code == 200


def test_a_locked_table_that_all_use_leaves_connections_to_queries(start: Start) -> None:
    """As a change of `step_results` would lock it: upserts, runners and accounts wait, and took the whole pool."""
    with start(pool_size=4, limits=Limits(lock_seconds=5)) as api, ThreadPoolExecutor(40) as threads:
        org = api.insert_organisation()
        _, run_id = api.insert_submission(org)
        step_id = api.insert_step(run_id)
        named = {"company_domain": "a.com", "raw_parallel_output": 1, "source_step_result_id": step_id}
        with api.hold_locks("lock table step_results in access exclusive mode"):
            blocked = [
                threads.submit(call)
                for call in (
                    lambda: api.upsert(SLUG, named, org),
                    lambda: api.upsert(OTHER, named, org),
                    lambda: api.call_runner("pipeline-runs/get", {"pipeline_run_id": run_id}),
                    lambda: api.client.get("/api/v1/coverage", headers=internal_headers(org)),
                )
                * 8
            ]
            wait_until(api, WAITING, 3)
            for _ in range(5):
                for call in (lambda: api.query(OTHER, org), lambda: api.query(SLUG, org)):
                    status, seconds = measure(call)
                    assert (status, seconds < 3) == (200, True), seconds
            answers = [future.result() for future in blocked]
            assert {answer.json().get("code", "none") for answer in answers} <= {"database_busy", "none"}
        assert api.upsert(SLUG, named, org).status_code == 200


def test_specs_with_many_requests_let_others_have_their_turn(start: Start) -> None:
    """They passed their connections on among themselves, and a runner's request waited until it was refused."""
    with start(pool_size=4) as api, ThreadPoolExecutor(16) as threads:
        org = api.insert_organisation()
        _, run_id = api.insert_submission(org)
        api.execute(
            "create function wait_briefly() returns trigger language plpgsql as"
            " $$ begin perform pg_sleep(0.05); return new; end $$;"
            "create trigger slow before insert on icp_job_titles for each row execute function wait_briefly();"
            "create trigger slow before insert on company_intel_briefings for each row execute function wait_briefly()"
        )
        has_ended = threading.Event()

        def upsert_until_end(slug: str, number: int) -> None:
            while not has_ended.is_set():
                row = {"company_domain": f"{slug}{number}.com", "raw_parallel_output": 1}
                assert api.upsert(slug, row, org).status_code == 200

        busy = [threads.submit(upsert_until_end, slug, number) for slug in (SLUG, OTHER) for number in range(8)]
        try:
            wait_until(api, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'", 3)
            for _ in range(10):
                status, seconds = measure(lambda: api.call_runner("pipeline-runs/get", {"pipeline_run_id": run_id}))
                assert (status, seconds < 3) == (200, True), seconds
        finally:
            has_ended.set()
        for future in busy:
            future.result()


def test_a_slow_table_is_given_up(start: Start) -> None:
    with start(limits=Limits(statement_seconds=1)) as api:
        org = api.insert_organisation()
        api.execute(
            "create function wait_long() returns boolean language sql volatile as 'select pg_sleep(60) is null';"
            "create policy slow on icp_job_titles as restrictive using (wait_long())"
        )
        api.upsert(OTHER, {"company_domain": "a.com", "raw_parallel_output": 1}, org)
        api.execute(
            "insert into icp_job_titles (org_id, company_domain, raw_parallel_output) values (%s, 'a.com', '1')", [org]
        )
        started = time.monotonic()
        assert "it is not known" in read_error(api.query(SLUG, org), 503, "database_busy")["hint"]
        assert time.monotonic() - started < 10
        wait_until(
            api,
            "select count(*) from pg_stat_activity where query like '%icp_job_titles%' and state = 'active'"
            " and pid <> pg_backend_pid() and datname = current_database()",
            0,
        )


@pytest.mark.parametrize("requests", [1, 3])  # the others wait for the response to the first
def test_statements_of_clients_who_left_are_cancelled(
    start: Start, requests: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with start(limits=Limits(lock_seconds=60, statement_seconds=60)) as api:
        _, run_id = api.insert_submission(api.insert_organisation())
        parts = urlsplit(api.url)
        body = json.dumps({"pipeline_run_id": run_id})
        headers = {**internal_headers(), "host": "x", "content-length": str(len(body))}
        lines = [
            "POST /api/internal/pipeline-runs/get HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        request = "\r\n".join([*lines, "", body]).encode()
        with api.hold_locks("lock table step_results in access exclusive mode"):
            with ExitStack() as clients:
                for _ in range(4):
                    client = clients.enter_context(socket.create_connection((parts.hostname, parts.port)))
                    client.sendall(request * requests)
                wait_until(api, WAITING, 2)
            wait_until(api, WAITING, 0)
        assert api.call_runner("pipeline-runs/get", {"pipeline_run_id": run_id}).status_code == 200
    log = capfd.readouterr().err
    assert '"client left"' in log and '"level":"error"' not in log


def test_dead_connections_cost_no_request(start: Start) -> None:
    with start() as api, ThreadPoolExecutor(8) as threads:
        org = api.insert_organisation()
        list(threads.map(lambda _: api.query(SLUG, org), range(30)))
        for _ in range(2):
            api.execute(
                "select pg_terminate_backend(pid, 20000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            assert [api.query(SLUG, org).status_code for _ in range(8)] == [200] * 8
            api.execute(
                "select pg_terminate_backend(pid, 20000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            assert {answer.status_code for answer in threads.map(lambda _: api.query(SLUG, org), range(16))} == {200}


@contextmanager
def refuse_writes(api: Api) -> Iterator[None]:
    """Make the database read only for every new connection, as a standby is."""
    name = api.fetch_value("select current_database()")
    end = "select pg_terminate_backend(pid, 20000) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    api.execute(f"alter database {name} set default_transaction_read_only = on")
    api.execute(end, [name])
    try:
        yield
    finally:
        with psycopg.connect(api.dsn, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(f"alter database {name} reset default_transaction_read_only")


def test_a_read_only_server_serves_reads_and_readiness_says_what_it_cannot_do(start: Start) -> None:
    with start() as api:
        org = api.insert_organisation()
        token = bearer_headers(api.insert_token(org))
        with refuse_writes(api):
            for headers in (token, bearer_headers(session_jwt(org)), internal_headers(org)):
                assert api.post(QUERY, {}, headers=headers).status_code == 200
            ready = read_data(api.client.get("/readyz"))
            assert [problem["code"] for problem in ready["problems"]] == ["database_read_only"]
            answer = api.upsert(SLUG, {"company_domain": "a.com", "raw_parallel_output": 1}, org)
            read_error(answer, 503, "database_read_only")


def test_readiness_is_per_spec(own_api: Api) -> None:
    org = own_api.insert_organisation()
    own_api.execute("alter table icp_job_titles disable row level security")
    ready = read_data(own_api.client.get("/readyz"))
    assert (ready["status"], ready["specs"]["icp_job_titles"]) == ("ready", "not_ready")
    assert {state for spec, state in ready["specs"].items() if spec != "icp_job_titles"} == {"ready"}
    (problem,) = ready["problems"]
    assert (problem["spec"], problem["code"]) == ("icp_job_titles", "TABLE507")
    read_error(own_api.query(SLUG, org), 503, "table_misfit")
    assert own_api.query(OTHER, org).status_code == 200
    own_api.execute(problem["sql"])
    time.sleep(1.1)
    assert own_api.query(SLUG, org).status_code == 200


def test_a_table_mended_after_the_look_serves_at_once(own_api: Api) -> None:
    org = own_api.insert_organisation()
    own_api.execute("alter table icp_job_titles disable row level security")
    (problem,) = read_data(own_api.client.get("/readyz"))["problems"]
    own_api.execute(problem["sql"])
    assert own_api.query(SLUG, org).status_code == 200


class TestRequestsThatMadeA500:
    """Two requests that were answered with a traceback."""

    def test_a_bearer_of_deeply_nested_json(self, start: Start) -> None:
        deep = base64.urlsafe_b64encode(b"[" * 6000).decode()
        with start() as api:
            for path in (QUERY, "/api/v1/submissions"):
                assert api.post(path, {}, headers=bearer_headers(f"{deep}.a.b")).status_code == 401

    def test_minus_nought(self, api: Api, org: str) -> None:
        answer = api.post(QUERY, b'{"offset": -0}', headers=internal_headers(org))
        assert (answer.status_code, answer.json()["meta"]["offset"]) == (200, 0)


def insert_user(api: Api, org: str) -> str:
    user_id = str(uuid.uuid4())
    row = (user_id, org, f"{user_id}@example.com")
    api.execute("insert into users (id, org_id, email) values (%s, %s, %s)", row)
    return user_id


def test_who_is_switched_off_is_refused_at_the_next_request(api: Api, org: str) -> None:
    user_id = insert_user(api, org)
    bearers = (api.insert_token(org, user_id=user_id), session_jwt(org, sub=user_id))
    for value in bearers:
        assert api.post(QUERY, {}, headers=bearer_headers(value)).status_code == 200
    api.execute("update users set is_active = false where id = %s", [user_id])
    for value in bearers:
        read_error(api.post(QUERY, {}, headers=bearer_headers(value)), 401, "inactive_user")
    api.execute("delete from users where id = %s", [user_id])
    assert api.post(QUERY, {}, headers=bearer_headers(bearers[0])).status_code == 401


def test_two_keys_and_two_secrets_are_valid_at_a_time(start: Start) -> None:
    with start() as before:
        org = before.insert_organisation()
        before.execute(
            "insert into icp_job_titles (org_id, company_domain, raw_parallel_output)"
            " select %s, 'a' || n || '.com', '1' from generate_series(1, 3) n",
            [org],
        )
        cursor = before.query(SLUG, org, {"limit": 1}).json()["meta"]["next_cursor"]
    new_key, new_secret = (
        "a new internal key of the tests, long enough",
        "a new session secret of the tests, long enough",
    )
    rotated = {"internal_api_key": new_key, "internal_api_key_previous": INTERNAL_KEY}
    with start(**rotated, jwt_secret=new_secret, jwt_secret_previous=JWT_SECRET) as api:
        for key in (new_key, INTERNAL_KEY):
            headers = bearer_headers(key, **{"x-internal-org-id": org})
            assert api.post(QUERY, {"limit": 1, "cursor": cursor}, headers=headers).status_code == 200
        for secret in (new_secret, JWT_SECRET):
            assert api.post(QUERY, {}, headers=bearer_headers(session_jwt(org, secret=secret))).status_code == 200
        expired = session_jwt(org, secret=JWT_SECRET, exp=1)
        read_error(api.post(QUERY, {}, headers=bearer_headers(expired)), 401, "expired_token")
        stranger = session_jwt(org, secret="another secret, just as long as the real one")
        read_error(api.post(QUERY, {}, headers=bearer_headers(stranger)), 401, "invalid_token")


@pytest.mark.parametrize(("sqlstate", "code"), [("53100", "database_full"), ("42P05", "pooler_loses_statements")])
def test_what_the_operator_has_to_do_is_named(sqlstate: str, code: str, own_api: Api) -> None:
    own_api.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        f" raise exception 'no' using errcode = '{sqlstate}'; end $$;"
        "create trigger refuse before insert on icp_job_titles for each row execute function refuse()"
    )
    org = own_api.insert_organisation()
    read_error(own_api.upsert(SLUG, {"company_domain": "a.com", "raw_parallel_output": 1}, org), 503, code)
    problems = read_data(own_api.client.get("/readyz")).get("problems", [])
    assert [problem["code"] for problem in problems] == (["database_full"] if code == "database_full" else [])
