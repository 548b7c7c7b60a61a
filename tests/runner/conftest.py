"""The real runner between the real API and the recorded provider, each a process of its own that can be killed."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.conftest import created

ROOT = Path(__file__).resolve().parents[2]
TRIGGER = ROOT / "trigger"
BIN = Path(sys.executable).parent

KEY = "internal-key-of-the-runner-tests"
ICP = "company.derive.icp_job_titles"
COMPANY = "company.derive.intel_briefing"
PERSON = "person.derive.intel_briefing"

SECONDS = 180  # what anything here may take at most


@dataclass
class Process:
    """A running program and what it says."""

    popen: subprocess.Popen[str]
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    said: list[str] = field(default_factory=list)

    def hear(self, part: str) -> str:
        """Wait for a line that holds `part`."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                line = self.lines.get(timeout=0.1)
            except queue.Empty:
                assert self.popen.poll() is None, f"it ended with {self.popen.returncode}: {self.text}"
                continue
            if part in line:
                return line
        raise AssertionError(f"`{part}` was not said within {SECONDS} s: {self.text}")

    def finish(self) -> int:
        """Wait for the end; the exit status."""
        try:
            return self.popen.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {SECONDS} s: {self.text}") from None

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(SECONDS)

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines it wrote."""
        return [json.loads(line) for line in self.said if line.startswith("{")]

    def warnings(self) -> list[dict[str, Any]]:
        return [line for line in self.log if line.get("level") in ("warn", "error")]


@contextmanager
def started(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = ROOT) -> Iterator[Process]:
    popen = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Process(popen)

    def listen() -> None:
        assert popen.stdout is not None
        for line in popen.stdout:
            process.said.append(line)
            process.lines.put(line)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield process
    finally:
        if popen.poll() is None:
            popen.terminate()
            try:
                popen.wait(20)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
        thread.join(5)
        assert popen.stdout is not None
        popen.stdout.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def node(script: str, *arguments: str) -> list[str]:
    """The words that run a file of trigger/, from there."""
    return ["node", "--import", "tsx", script, *arguments]


@dataclass
class House:
    """API, provider and database, shared by the tests of a process."""

    dsn: str
    port: int
    provider_url: str
    stack: ExitStack = field(repr=False)
    api: Process | None = field(default=None, repr=False)
    root: Path = ROOT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_api(self) -> None:
        env = {"DATABASE_URL": self.dsn, "INTERNAL_API_KEY": KEY, "JWT_SECRET": "a session secret of the runner tests"}
        self.api = self.stack.enter_context(started([BIN / "dex", "serve", "--port", str(self.port)], env, self.root))
        self.api.hear("serving on")
        deadline = time.monotonic() + SECONDS
        while not self.answers():  # it listens before it answers
            assert time.monotonic() < deadline, self.api.text
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False

    def stop_api(self) -> None:
        assert self.api is not None
        self.api.kill()


@dataclass
class World:
    """One organisation in the house: what a runner is put into."""

    house: House
    org_id: str
    stack: ExitStack = field(repr=False)

    @property
    def url(self) -> str:
        return self.house.url

    @property
    def provider_url(self) -> str:
        return self.house.provider_url

    # --- the database, as its owner ---

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        with psycopg.connect(self.house.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        return self.execute(statement, parameters)[0][0]

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = f"select to_jsonb(t) from {table} as t where org_id = %s order by created_at, id"
        return [row for (row,) in self.execute(found, (self.org_id,))]

    def steps(self, run_id: str) -> list[dict[str, Any]]:
        found = "select to_jsonb(s) from step_results as s where pipeline_run_id = %s order by step_position"
        return [row for (row,) in self.execute(found, (run_id,))]

    def run_row(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.value("select to_jsonb(r) from pipeline_runs as r where id = %s", (run_id,))
        return found

    def queue(self, operations: Sequence[str], context: Any, **config: Any) -> str:
        """Put one run in the queue by hand; its id."""
        steps = [
            {"position": place, "operation_id": operation, "step_config": config}
            for place, operation in enumerate(operations, start=1)
        ]
        submission_id, run_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.execute(
            "insert into submissions (id, org_id, input_payload, status) values (%s, %s, %s, 'queued')",
            (submission_id, self.org_id, json.dumps(context)),
        )
        self.execute(
            "insert into pipeline_runs (id, org_id, submission_id, status, blueprint_snapshot)"
            " values (%s, %s, %s, 'queued', %s)",
            (run_id, self.org_id, submission_id, json.dumps({"steps": steps})),
        )
        self.execute(
            "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status)"
            " select %s, %s, %s, generate_series(1, %s), 'queued'",
            (self.org_id, submission_id, run_id, len(operations)),
        )
        return run_id

    def expire(self, run_id: str) -> None:
        """Let the lease of a run be over, as it will be some time after its runner died."""
        self.execute(
            "update pipeline_runs set lease_expires_at = now() where id = %s and lease_expires_at is not null",
            (run_id,),
        )

    def coverage(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/internal/coverage", headers={"authorization": f"Bearer {KEY}"})
        assert answer.is_success, answer.text
        return [account for account in answer.json()["data"] if account["org_id"] == self.org_id]

    # --- the provider and the runner ---

    def orders(self, run_id: str) -> list[dict[str, Any]]:
        """What was bought for a run, each with the metadata that names its step."""
        orders = httpx.get(f"{self.provider_url}/recorded/requests").json()["orders"]
        return [order for order in orders if order["metadata"]["pipeline_run_id"] == run_id]

    def environment(self, **changes: str) -> dict[str, str]:
        return {
            "DATA_ENGINE_API_URL": self.url,
            "DATA_ENGINE_INTERNAL_API_KEY": KEY,
            "PARALLEL_API_KEY": "key-of-the-recorded-provider",
            "PARALLEL_BASE_URL": self.provider_url,
            **changes,
        }

    def worker(self, *arguments: str, **changes: str) -> Process:
        """Start a worker that takes this organisation's runs and ends when there are none."""
        command = node("src/local/worker.ts", "--until-idle", "--org", self.org_id, *arguments)
        return self.stack.enter_context(started(command, self.environment(**changes), self.house.root / "trigger"))

    def work(self, *arguments: str, **changes: str) -> Process:
        """Run a worker to its end."""
        worker = self.worker(*arguments, **changes)
        worker.finish()
        return worker


@pytest.fixture(scope="session")
def house(server_dsn: str, template: str) -> Iterator[House]:
    recorded = started(node("src/recorded/provider.ts", "--delay", "50"), {}, TRIGGER)
    with ExitStack() as stack, created(server_dsn, template) as dsn, recorded as provider:
        yield House(dsn, free_port(), json.loads(provider.hear("url"))["url"], stack)
        stack.close()


@contextmanager
def moved_in(house: House) -> Iterator[World]:
    """A new organisation in the house; its workers end with it."""
    with ExitStack() as stack:
        world = World(house, str(uuid.uuid4()), stack)
        world.execute("insert into orgs (id, name, slug) values (%s, %s, %s)", (world.org_id,) * 3)
        yield world


@pytest.fixture
def world(house: House) -> Iterator[World]:
    if not house.answers():  # the first test, or one that failed with the API stopped
        house.start_api()
    assert house.api is not None
    before = len(house.api.said)
    with moved_in(house) as made:
        yield made
    # Shown with a test that failed.
    print(*(line for line in house.api.said[before:] if '"level":"info"' not in line), sep="")
