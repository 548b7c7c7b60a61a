"""Many submissions of few questions while everything is killed: runners, the API, the database, the provider.

The database is killed with SIGQUIT and recovers from its log, the others with SIGKILL. The provider keeps its book in a
file, so that the book of a killed one is that of the next.
"""

import json
import os
import random
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg

from engine.embedded_postgres import postmaster, run_server
from engine.embedded_postgres.data_folder import DataFolder
from scripts.processes import Process
from tests.conftest import find_memory_folder
from tests.forked_dex import run_dex_text, start_dex
from tests.plain_http import HTTP, find_free_port
from tests.runner.conftest import ICP, KEY, TRIGGER, build_provider_command, build_worker_command, start_process
from tests.world import insert_organisation

SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of it."""

    submissions: int
    questions: int
    runners: int
    kills: int
    pause: float  # seconds between two kills, at most
    lease: int = 2  # seconds after which the runs of a killed runner are taken up by another one


@dataclass
class Stage:
    """Everything that can be killed, and what it takes to start it again."""

    folder: Path
    stack: ExitStack
    lease: int = 2  # seconds
    api_port: int = field(default_factory=find_free_port)
    provider_port: int = field(default_factory=find_free_port)
    org_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    dsn: str = ""
    parts: dict[str, Process] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"

    @property
    def book(self) -> Path:
        return self.folder / "book.jsonl"

    def build_environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.dsn,
            "INTERNAL_API_KEY": KEY,
            "JWT_SECRET": "a session secret of the runner tests",
            "DATA_ENGINE_API_URL": self.url,
            "DATA_ENGINE_INTERNAL_API_KEY": KEY,
            "DATA_ENGINE_MAX_RUN_ATTEMPTS": "1000",
            "DEX_LIMIT_REQUESTS_PER_SECOND": "100000",
            "PARALLEL_API_KEY": "key-of-the-recorded-provider",
            "PARALLEL_BASE_URL": self.provider_url,
        }

    # --- what can be killed ---

    def start_part(self, name: str) -> None:
        environment = self.build_environment()
        if name == "api":
            part = start_dex("serve", "--port", str(self.api_port), environment={**os.environ, **environment})
        else:
            part = start_process(self.build_command(name), environment, TRIGGER)
        self.parts[name] = self.stack.enter_context(part)

    def build_command(self, name: str) -> tuple[str, ...]:
        """Build the command of a part that node runs."""
        if name == "provider":
            words = ["--port", str(self.provider_port), "--delay", "200", "--book", str(self.book)]
            return build_provider_command(*words)
        words = ["--org", self.org_id, "--lease", str(self.lease), "--concurrency", "4"]
        return *build_worker_command(), *words

    def kill_part(self, name: str) -> None:
        """Kill a part and start it again."""
        self.struck[name.split("-")[0]] = self.struck.get(name.split("-")[0], 0) + 1
        if name == "database":
            self.crash_database()
            return
        self.parts[name].kill()
        self.start_part(name)

    def crash_database(self) -> None:
        cluster = DataFolder((self.folder / "data").resolve()).cluster
        server = postmaster.find_postmaster(cluster)
        assert server is not None
        os.kill(server.pid, signal.SIGQUIT)
        assert postmaster.wait_until_gone(server.pid, cluster, 30)
        self.stack.enter_context(run_server(self.folder / "data", temporary=True))

    # --- what is asked ---

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def run_dex(self, *words: str) -> str:
        environment = {**os.environ, **self.build_environment()}
        done = run_dex_text(*words, environment=environment)
        done.check_returncode()
        return done.stdout

    def fetch(self, path: str) -> list[dict[str, Any]]:
        """Return what a tenant's endpoint lists."""
        headers = {"authorization": f"Bearer {KEY}", "x-internal-org-id": self.org_id}
        answer = HTTP.get(f"{self.url}/api/v1/{path}", headers=headers, timeout=60)
        assert answer.is_success, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def read_book(self) -> list[dict[str, Any]]:
        """Return what the provider accepted, from its own book."""
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        return [json.loads(line) for line in lines]

    def submit(self, number: int, questions: int) -> None:
        """Submit as a client does: under a key, again and again until there is an answer."""
        headers = {
            "authorization": f"Bearer {KEY}",
            "x-internal-org-id": self.org_id,
            "idempotency-key": f"submission-{number}",
        }
        given = {
            "company_name": f"Company {number % questions}",
            "domain": f"company-{number % questions}.example.com",
            "company_description": "Makes what it is asked for.",
        }
        body = {"steps": [{"operation_id": ICP}], "inputs": [given]}
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                answer = HTTP.post(f"{self.url}/api/v1/submissions", json=body, headers=headers, timeout=30)
                if answer.is_success:
                    return
                assert answer.status_code >= 500, answer.text
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "a submission was never answered"
            time.sleep(0.2)


S = TypeVar("S", bound=Stage)


@contextmanager
def open_stage(kind: Callable[[Path, ExitStack], S], parts: Iterable[str]) -> Iterator[S]:
    """Start a database of its own, migrated, with the stage's organisation, and the named parts over it."""
    folder = Path(tempfile.mkdtemp(prefix="dex-stage-", dir=find_memory_folder()))
    folder.chmod(0o755)
    try:
        with ExitStack() as stack:
            stage = kind(folder, stack)
            stage.dsn = stack.enter_context(run_server(folder / "data", temporary=True))
            stage.run_dex("migrate")
            with psycopg.connect(stage.dsn, autocommit=True) as connection:
                insert_organisation(connection, stage.org_id)
            for name in parts:
                stage.start_part(name)
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kill_at_random(stage: Stage, size: Size, seed: int) -> None:
    """Kill one part after the other while work goes on; runners most often, as there are most of them."""
    chooser = random.Random(seed)
    names = [f"runner-{n}" for n in range(size.runners)]
    for number in range(size.kills):
        time.sleep(chooser.uniform(0, size.pause))
        part = chooser.choices(["runner", "api", "provider", "database"], [5, 2, 2, 1])[0]
        if number < 4:  # each of them at least once
            part = ["provider", "api", "database", "runner"][number]
        stage.kill_part(chooser.choice(names) if part == "runner" else part)


def run_chaos(size: Size, seed: int) -> None:
    """Submit, kill, let it come to an end, decide what is in doubt by the provider's book, and compare with it."""
    parts = ("api", "provider", *(f"runner-{n}" for n in range(size.runners)))
    with open_stage(partial(Stage, lease=size.lease), parts) as stage:
        # Exactly what the questions cost: a step would fail by one order too many, even by one that is in doubt.
        stage.run_dex("org", "budget", stage.org_id, "--usd", f"{0.1 * size.questions:.2f}")
        with ThreadPoolExecutor(9) as threads:
            work = [threads.submit(stage.submit, number, size.questions) for number in range(size.submissions)]
            killer = threads.submit(kill_at_random, stage, size, seed)
            for future in work:
                future.result()
            killer.result()
        bring_to_end(stage)
        check_books(stage, size, f"seed {seed}, killed {stage.struck}")


def bring_to_end(stage: Stage) -> None:
    """Wait until nothing is queued or executed; resolve and retry what a person would."""
    deadline = time.monotonic() + 10 * SECONDS
    while True:
        wait_until_idle(stage, deadline)
        orders = stage.fetch("orders?status=unknown&limit=1000")
        accepted = {entry["order"]["metadata"]["order_id"]: entry["run_id"] for entry in stage.read_book()}
        for order in orders:
            run_id = accepted.get(order["id"])
            stage.run_dex("orders", "resolve", order["id"], *(["--accepted", run_id] if run_id else ["--not-accepted"]))
        beyond = "select count(*) from step_results where error_details ->> 'code' = 'budget_exceeded'"
        assert stage.execute(beyond) == [(0,)], "the questions cost more than their price for a while"
        failed = stage.execute("select distinct submission_id::text from pipeline_runs where status = 'failed'")
        if not failed and not orders:
            return
        headers = {"authorization": f"Bearer {KEY}", "x-internal-org-id": stage.org_id}
        for (submission,) in failed:
            url = f"{stage.url}/api/v1/submissions/{submission}/retry"
            HTTP.post(url, headers=headers, timeout=60).raise_for_status()
        assert time.monotonic() < deadline


def wait_until_idle(stage: Stage, deadline: float) -> None:
    left = "select count(*) from pipeline_runs where status in ('queued', 'running')"
    while stage.execute(left) != [(0,)]:
        assert time.monotonic() < deadline, stage.execute("select status, count(*) from pipeline_runs group by 1")
        for name, process in stage.parts.items():
            assert process.popen.poll() is None, f"{name} ended: {process.text[-2000:]}"
        time.sleep(0.2)


def check_books(stage: Stage, size: Size, where: str) -> None:
    """Compare our books with the provider's: one order per question, each paid once and answered, every row there."""
    book = stage.read_book()
    assert len(book) == size.questions, f"{where}: {len(book)} orders at the provider"
    assert len({entry["order"]["input"] for entry in book}) == size.questions, where
    orders = [order for order in stage.fetch("orders?limit=1000") if order["status"] != "not_accepted"]
    assert {order["status"] for order in orders} == {"completed"}, where
    assert {order["provider_run_id"] for order in orders} == {entry["run_id"] for entry in book}, where
    (cost,) = stage.fetch("costs")
    assert (cost["orders"], float(cost["cost"])) == (size.questions, round(0.1 * len(book), 2)), where
    runs = stage.execute("select status, count(*) from pipeline_runs group by status")
    assert runs == [("succeeded", size.submissions)], f"{where}: {runs}"
    rows = stage.execute("select company_domain, parallel_run_id from icp_job_titles order by company_domain")
    assert [domain for domain, _ in rows] == sorted(f"company-{n}.example.com" for n in range(size.questions)), where
    assert {run_id for _, run_id in rows} == {entry["run_id"] for entry in book}, where
    held = stage.execute("select count(*) from research_orders where answer is not null")
    assert held == [(0,)], f"{where}: an answer is in no step result"
    assert sum(stage.struck.values()) == size.kills, where
