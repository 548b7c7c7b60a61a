"""Fixtures: the real runner, API and recorded provider, each a process of its own that can be killed."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from scripts import processes
from scripts.processes import Process
from tests.conftest import ROOT, create_database
from tests.forked_dex import run_dex_text, start_dex
from tests.plain_http import HTTP, find_free_port
from tests.world import insert_organisation, insert_run, insert_step, insert_submission

TRIGGER = ROOT / "trigger"
BIN = Path(sys.executable).parent

KEY = "internal-key-of-the-runner-tests"
ICP = "company.derive.icp_job_titles"
COMPANY = "company.derive.intel_briefing"
PERSON = "person.derive.intel_briefing"

SECONDS = 180  # what anything here may take at most


@contextmanager
def start_process(command: Sequence[str | Path], env: Mapping[str, str], cwd: Path = ROOT) -> Iterator[Process]:
    """Run a program of the project, with the node and the commands of its environment on the path."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    with processes.start_process(command, {"PATH": path, **env}, cwd=cwd) as process:
        yield process


def build_worker_command(trigger: Path = TRIGGER) -> tuple[str, ...]:
    """Build the command that runs the local runner of `trigger`."""
    return "node", str(bundle_script("src/local-runner/main.ts", trigger))


def build_provider_command(*arguments: str) -> tuple[str, ...]:
    """Build the command that runs the recorded provider."""
    return "node", str(bundle_script("recorded-provider/main.ts")), *arguments


@cache
def bundle_script(script: str, trigger: Path = TRIGGER) -> Path:
    """Bundle a program of `trigger` into one file, by what `tsx` works with and Trigger.dev deploys with.

    A worker starts in a fifth of the time, a test of the task in a quarter; the demo and the tutorial start them by
    `tsx`, as users do.
    """
    folder = Path(tempfile.mkdtemp(prefix="dex-bundle-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "node_modules").symlink_to(TRIGGER / "node_modules")
    (folder / "recordings").symlink_to(TRIGGER / "recorded-provider" / "recordings")
    bundle = folder / "program.mjs"
    # Packages of CommonJS ask for `require`, which a module has not.
    banner = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);'
    options = ("--bundle", "--platform=node", "--format=esm", "--external:@opentelemetry/*", f"--banner:js={banner}")
    command = [TRIGGER / "node_modules" / ".bin" / "esbuild", script, *options, f"--outfile={bundle}"]
    command.append("--log-level=error")
    subprocess.run(command, cwd=trigger, env={"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}, check=True)
    return bundle


@dataclass
class Services:
    """API, provider and database, shared by the tests of one pytest process."""

    dsn: str
    port: int
    provider_url: str
    stack: ExitStack = field(repr=False)
    api: Process | None = field(default=None, repr=False)
    root: Path = ROOT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def owner(self) -> psycopg.Connection[Any]:
        """A connection as the owner of the database, for statements that wait for nobody."""
        connection = psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None)
        self.stack.callback(connection.close)
        return connection

    def start_api(self) -> None:
        env = {"DATABASE_URL": self.dsn, "INTERNAL_API_KEY": KEY, "JWT_SECRET": "a session secret of the runner tests"}
        env["DEX_SWEEP_SECONDS"] = "0"  # a test says when something is swept
        self.api = self.stack.enter_context(
            start_dex("serve", "--port", str(self.port), environment={**os.environ, **env}, folder=self.root)
        )
        self.api.wait_for_line("serving on")
        deadline = time.monotonic() + SECONDS
        while not self.is_api_up():  # it listens before it answers
            assert time.monotonic() < deadline, self.api.text
            time.sleep(0.1)

    def is_api_up(self) -> bool:
        try:
            return HTTP.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False

    def stop_api(self) -> None:
        assert self.api is not None
        self.api.kill()


@dataclass
class World:
    """One organisation with its runs, and what a runner needs to execute them."""

    services: Services
    org_id: str
    stack: ExitStack = field(repr=False)

    @property
    def url(self) -> str:
        return self.services.url

    @property
    def provider_url(self) -> str:
        return self.services.provider_url

    # --- the database, as its owner ---

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        cursor = self.services.owner.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def select_value(self, statement: str, parameters: Any = None) -> Any:
        return self.execute(statement, parameters)[0][0]

    def select_rows(self, table: str) -> list[dict[str, Any]]:
        found = f"select to_jsonb(t) from {table} as t where org_id = %s order by created_at, id"
        return [row for (row,) in self.execute(found, (self.org_id,))]

    def select_steps(self, run_id: str) -> list[dict[str, Any]]:
        """Return the steps of a run, each with its `order` and the provider's run id of that."""
        found = (
            "select to_jsonb(s) || jsonb_build_object('order', to_jsonb(o), 'provider_run_id', o.provider_run_id)"
            " from step_results as s left join research_orders as o on o.id = s.order_id"
            " where s.pipeline_run_id = %s order by s.step_position"
        )
        return [row for (row,) in self.execute(found, (run_id,))]

    def select_orders(self) -> list[dict[str, Any]]:
        """Return the orders of this organisation, oldest first."""
        found = "select to_jsonb(o) from research_orders as o where org_id = %s order by requested_at, id"
        return [row for (row,) in self.execute(found, (self.org_id,))]

    def select_run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.select_value("select to_jsonb(r) from pipeline_runs as r where id = %s", (run_id,))
        return found

    def queue_run(self, operations: Sequence[str], context: Any, **config: Any) -> str:
        """Insert one queued run and return its id."""
        steps = [
            {"position": place, "operation_id": operation, "step_config": config}
            for place, operation in enumerate(operations, start=1)
        ]
        with psycopg.connect(self.services.dsn) as connection:
            submission_id = insert_submission(connection, self.org_id, status="queued", given=context)
            run_id = insert_run(connection, self.org_id, submission_id, status="queued", steps=steps)
            for position in range(1, len(operations) + 1):
                insert_step(connection, run_id, position=position, status="queued")
        return run_id

    def expire_lease(self, run_id: str) -> None:
        """End the leases of a run and of its orders, as happens some time after its runner died."""
        self.execute(
            "update research_orders set held_until = now() where pipeline_run_id = %s and status = 'requested'",
            (run_id,),
        )
        self.execute(
            "update pipeline_runs set lease_expires_at = now() where id = %s and lease_expires_at is not null",
            (run_id,),
        )

    def fetch_coverage(self) -> list[dict[str, Any]]:
        answer = HTTP.get(f"{self.url}/api/internal/coverage", headers={"authorization": f"Bearer {KEY}"})
        assert answer.is_success, answer.text
        return [account for account in answer.json()["data"] if account["org_id"] == self.org_id]

    def fetch_account(self, spec: str) -> dict[str, Any]:
        """Return the account of one spec; an operation feeds several."""
        (account,) = (account for account in self.fetch_coverage() if account["spec"] == spec)
        return account

    # --- the provider and the runner ---

    def fetch_orders(self, run_id: str) -> list[dict[str, Any]]:
        """Return the orders for a run, each with the metadata that names its step."""
        orders = HTTP.get(f"{self.provider_url}/recorded/requests").json()["orders"]
        return [order for order in orders if order["metadata"]["pipeline_run_id"] == run_id]

    def build_environment(self, **changes: str) -> dict[str, str]:
        return {
            "DATA_ENGINE_API_URL": self.url,
            "DATA_ENGINE_INTERNAL_API_KEY": KEY,
            "PARALLEL_API_KEY": "key-of-the-recorded-provider",
            "PARALLEL_BASE_URL": self.provider_url,
            **changes,
        }

    def start_worker(self, *arguments: str, **changes: str) -> Process:
        """Start a worker that executes this organisation's runs and ends when there are none."""
        trigger = self.services.root / "trigger"
        command = [*build_worker_command(trigger), "--until-idle", "--org", self.org_id, *arguments]
        return self.stack.enter_context(start_process(command, self.build_environment(**changes), trigger))

    def run_dex(self, *words: str, status: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command against the database of this world, with what a runner needs; it ends with `status`."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "DATABASE_URL": self.services.dsn, **self.build_environment(**changes)}
        done = run_dex_text(*words, environment=environment, folder=self.services.root, seconds=SECONDS)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def read_dex(self, *words: str, status: int = 0, **changes: str) -> Any:
        """Run a command with `--json`; return what it printed."""
        return json.loads(self.run_dex(*words, "--json", status=status, **changes).stdout)

    def run_worker(self, *arguments: str, **changes: str) -> Process:
        """Start a worker and wait until it ends."""
        worker = self.start_worker(*arguments, **changes)
        worker.wait_for_exit()
        return worker


@pytest.fixture(scope="session")
def services(server_dsn: str, template: str) -> Iterator[Services]:
    recorded = start_process(build_provider_command("--delay", "50"), {}, TRIGGER)
    with ExitStack() as stack, create_database(server_dsn, template) as dsn, recorded as provider:
        yield Services(dsn, find_free_port(), json.loads(provider.wait_for_line("url"))["url"], stack)
        stack.close()


@contextmanager
def create_world(services: Services) -> Iterator[World]:
    """Create an organisation; its workers are stopped with the context."""
    with ExitStack() as stack:
        world = World(services, str(uuid.uuid4()), stack)
        with psycopg.connect(world.services.dsn) as connection:
            insert_organisation(connection, world.org_id)
        yield world


@pytest.fixture
def world(services: Services) -> Iterator[World]:
    if not services.is_api_up():  # the first test, or one that failed with the API stopped
        services.start_api()
    assert services.api is not None
    before = len(services.api.lines)
    with create_world(services) as created_world:
        yield created_world
    # Shown with a test that failed.
    print(*(line for line in services.api.lines[before:] if '"level":"info"' not in line), sep="")
