"""The database goes away and comes back: what is answered meanwhile, and that nothing is left behind."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from api.context import CANCEL_TIMEOUT
from api.http.errors import build_store_fault
from api.settings import Limits
from engine.store.errors import StoreRefused
from tests.api.loopback import Api, bearer_headers, internal_headers, read_error, run_api, session_jwt

SLUG = "company-intel-briefings"
ROW = {"company_domain": "example.com", "raw_parallel_output": {"a": 1}}


class Wire:
    """A port of loopback that leads to the database's socket, until it is cut."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        (folder,) = parse_qs(parts.query)["host"]
        (port,) = parse_qs(parts.query).get("port", ["5432"])
        self._target = f"{folder}/.s.PGSQL.{port}"
        self._open: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.dsn = urlunsplit(parts._replace(netloc=f"postgres@127.0.0.1:{self._port}", query="sslmode=disable"))
        self._serve()

    def cut(self) -> None:
        """End every connection and take no new one, as a stopped server does."""
        with contextlib.suppress(OSError):  # it is cut already, where a test has failed
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    @contextlib.contextmanager
    def hold_bytes(self) -> Iterator[None]:
        """Pass nothing on within a `with` block, as a server does that is stopped by SIGSTOP."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._forward_bytes, args=[source, target], daemon=True).start()

    def _forward_bytes(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(database: str) -> Iterator[Wire]:
    one = Wire(database)
    yield one
    one.cut()


@pytest.fixture
def wired(database: str, wire: Wire) -> Iterator[Api]:
    """An API that reaches its database through the wire, while the test reaches it directly."""
    with run_api(wire.dsn) as api:
        api.dsn = database
        yield api


def test_everything_says_so_and_recovers(wired: Api, wire: Wire) -> None:
    org = wired.insert_organisation()
    submission, run = wired.insert_submission(org)
    token = wired.insert_token(org)
    assert wired.upsert(SLUG, ROW, org).status_code == 200
    before = wired.execute("select to_jsonb(t)::text from company_intel_briefings t")
    wire.cut()
    work = {"steps": [{"operation_id": "company.derive.icp_job_titles"}], "inputs": [{}]}
    calls: list[Callable[[], httpx.Response]] = [
        lambda: wired.upsert(SLUG, {**ROW, "raw_parallel_output": 2}, org),
        lambda: wired.query("icp-job-titles", org),
        lambda: wired.post(f"/api/v1/{SLUG}/query", {}, headers=bearer_headers(token)),
        lambda: wired.post("/api/v1/submissions", work, headers=internal_headers(org)),
        lambda: wired.client.get(f"/api/v1/submissions/{submission}", headers=bearer_headers(session_jwt(org))),
        lambda: wired.call_runner("pipeline-runs/get", {"pipeline_run_id": run}),
        lambda: wired.client.get("/api/internal/coverage", headers=internal_headers()),
    ] * 3  # more than the pool has connections: some wait for their share of these
    started = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as threads:
        answers = list(threads.map(lambda call: call(), calls))
    assert time.monotonic() - started < 30
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["hint"]
        assert "127.0.0.1" not in answer.text and "postgres" not in answer.text
    ready = wired.client.get("/readyz")
    assert (ready.status_code, ready.json()["detail"][0]["code"]) == (503, "database_unavailable")
    assert wired.client.get("/healthz").status_code == 200
    assert wired.client.get("/metrics").status_code == 200
    assert wired.post(f"/api/internal/{SLUG}/upsert", ROW, headers=bearer_headers("wrong")).status_code == 401
    wire.mend()
    deadline = time.monotonic() + 20
    while wired.client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, "the API did not find its database again"
        time.sleep(0.1)
    assert wired.execute("select to_jsonb(t)::text from company_intel_briefings t") == before
    assert wired.upsert(SLUG, {**ROW, "raw_parallel_output": 2}, org).json()["meta"]["outcome"] == "written"


def test_cut_in_the_middle_of_a_statement(wired: Api, wire: Wire) -> None:
    """The server does not notice and commits: nobody may be told that nothing was changed, and repeating is safe."""
    org = wired.insert_organisation()
    assert wired.upsert(SLUG, ROW, org).status_code == 200
    blocker = wired.hold_locks("select 1 from company_intel_briefings where org_id = %s for update", [org])
    with blocker:
        answers: list[httpx.Response] = []
        body = {**ROW, "raw_parallel_output": 2}
        thread = threading.Thread(target=lambda: answers.append(wired.upsert(SLUG, body, org)))
        thread.start()
        mine = "select count(*) from pg_stat_activity where datname = current_database()"
        while not wired.fetch_value(f"{mine} and wait_event_type = 'Lock'"):
            time.sleep(0.01)
        wire.cut()
        thread.join(30)
    (answer,) = answers
    assert "it is not known whether a write was kept" in read_error(answer, 503, "database_unavailable")["hint"]
    deadline = time.monotonic() + 20
    while wired.fetch_value("select raw_parallel_output from company_intel_briefings where org_id = %s", [org]) != 2:
        assert time.monotonic() < deadline, "the statement whose answer was lost was not committed"
        time.sleep(0.01)
    wire.mend()
    assert wired.upsert(SLUG, body, org).json()["meta"]["outcome"] == "unchanged"


def test_a_frozen_database_is_given_up_within_the_bound(database: str, wire: Wire) -> None:
    """It answers neither the statements nor the requests to cancel them."""
    with run_api(wire.dsn, limits=Limits(statement_seconds=2)) as api, ThreadPoolExecutor(2) as threads:
        api.dsn = database
        org = api.insert_organisation()
        callers = [internal_headers(org), bearer_headers(api.insert_token(org))]

        def query(headers: dict[str, str]) -> httpx.Response:
            return api.post(f"/api/v1/{SLUG}/query", {}, headers=headers)

        assert [answer.status_code for answer in threads.map(query, callers)] == [200, 200]
        with wire.hold_bytes():
            started = time.monotonic()
            answers = list(threads.map(query, callers))
            assert time.monotonic() - started < 2 + CANCEL_TIMEOUT + 5  # seconds for a busy machine
        for answer in answers:
            read_error(answer, 503, "database_busy")
        assert [answer.status_code for answer in threads.map(query, callers)] == [200, 200]


def test_the_api_starts_without_its_database(database: str) -> None:
    wire = Wire(database)
    wire.cut()
    with run_api(wire.dsn, grant=False) as api:
        assert api.client.get("/healthz").status_code == 200
        assert api.client.get("/readyz").status_code == 503
        wire.mend()
        deadline = time.monotonic() + 20
        while api.client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, "the API did not find its database"
            time.sleep(0.1)
    wire.cut()


def test_what_the_driver_says_of_itself_is_no_fault_of_the_callers_values() -> None:
    """Such an error has no SQLSTATE."""
    fault = build_store_fault(StoreRefused(psycopg.InterfaceError("the cursor is closed")))
    assert (fault.status, fault.code) == (500, "database_refused")
    assert "cursor" not in str(fault)
