"""The demo: everything the project is for, on recorded research, in one go.

In: a project. Out: sentences and tables on standard output; it ends by itself and raises when something is not as it
should be. Nothing in it knows more than a user could: it speaks to the API over HTTP and to `dex` as a process.
It keeps to an organisation of its own: `DATABASE_URL` may hold the work of others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

import httpx

from engine import plans as load
from engine.errors import EngineError
from engine.project import Project
from engine.store.connection import connect
from engine.tables import migrate
from engine.values import exact_json
from scripts import console
from scripts.commands.server import node
from scripts.database_url import database, named

STEPS = ("company.derive.icp_job_titles", "company.derive.intel_briefing", "person.derive.intel_briefing")
CLIENT = {
    "client_company_name": "Harbor Assurance",
    "client_company_description": "Insures companies against cyber risk.",
}
INPUTS = (
    {"domain": "northwind-robotics.example", "company_name": "Northwind Robotics", "full_name": "Mara Lindqvist"},
    {"domain": "www.Bluepeak-Analytics.example/", "company_name": "Bluepeak Analytics", "full_name": "Tomas Okafor"},
)


class DemoFailed(EngineError):
    """The demo did not show what it should."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The demo's organisation and an API token of it."""

    org_id: str
    token: str


def run(here: Project) -> None:
    """Run the demo on `DATABASE_URL` or the embedded Postgres. Raises DemoFailed when the accounts do not close."""
    began = time.monotonic()
    plans = load.load(here)
    with ExitStack() as stack:
        console.say(f"1. {named()}: migrations")
        dsn = stack.enter_context(database(here))
        report = asyncio.run(migrate.migrate(dsn, here.migrations))
        console.say(
            f"   {len(report.applied)} applied; {len(plans)} specs, {sum(len(p.fields) for p in plans)} columns"
        )
        tenant = asyncio.run(_make_tenant(dsn))
        key = secrets.token_urlsafe(32)
        api = stack.enter_context(_api(here, dsn, key))
        provider = stack.enter_context(_provider(here))
        _run_pipelines(here, api, key, provider, tenant)
        _backfill(here, dsn, tenant, [plan.name for plan in plans])
        _query(api, tenant, {plan.slug: [plan.conflict[1], "parallel_run_id"] for plan in plans})
        _close(here, dsn, tenant)
    console.say(f'\nDone in {time.monotonic() - began:.0f} s. Next: `make serve`, then README.md, "Add an operation".')


async def _make_tenant(dsn: str) -> Tenant:
    token = secrets.token_urlsafe(32)
    async with await connect(dsn) as connection:
        found = await connection.execute(
            "insert into orgs (name, slug) values ('Demo', 'demo')"
            " on conflict (slug) do update set name = excluded.name returning id::text"
        )
        (org_id,) = await found.fetchone() or ("",)
        await connection.execute(
            "insert into api_tokens (org_id, name, token_hash, role, expires_at)"
            " values (%s, 'demo', %s, 'org_admin', now() + interval '1 day')",
            (org_id, hashlib.sha256(token.encode()).hexdigest()),
        )
    return Tenant(org_id, token)


def _run_pipelines(here: Project, api: str, key: str, provider: str, tenant: Tenant) -> None:
    console.say(f"\n2. One submission: {len(INPUTS)} inputs, {len(STEPS)} operations each, through the real runner")
    body = {"steps": [{"operation_id": step} for step in STEPS], "inputs": [_input(item) for item in INPUTS]}
    answer = _post(api, "/api/v1/submissions", tenant, body)
    environment = {
        "DATA_ENGINE_API_URL": api,
        "DATA_ENGINE_INTERNAL_API_KEY": key,
        "PARALLEL_API_KEY": "recorded",
        "PARALLEL_BASE_URL": provider,
    }
    worker = [sys.executable, "-m", "scripts.dex", "worker", "--until-idle", "--org", tenant.org_id]
    done = subprocess.run(worker, cwd=here.root, env=_environment(environment), capture_output=True, text=True)
    if done.returncode:
        raise DemoFailed(f"the runner ended with {done.returncode}", hint=(done.stdout + done.stderr)[-2000:])
    shown = _get(api, f"/api/v1/submissions/{answer['data']['id']}", tenant)["data"]
    for item in shown["pipeline_runs"]:
        steps = ", ".join(f"{step['operation_id']} {step['status']}" for step in item["step_results"])
        console.say(f"   run {item['id'][:8]} {item['status']}: {steps}")
    if shown["status"] != "completed":
        raise DemoFailed(f"the submission is `{shown['status']}`, not `completed`", hint=json.dumps(shown)[:2000])


def _input(item: Mapping[str, str]) -> dict[str, str]:
    company = {"target_company_name": item["company_name"], "target_company_domain": item["domain"]}
    person = {
        "person_full_name": item["full_name"],
        "person_current_company_name": item["company_name"],
        "person_linkedin_url": f"https://www.linkedin.com/in/{item['full_name'].split()[0].lower()}-demo/",
    }
    return {**item, **company, **person, **CLIENT, "company_description": "Makes what its name says."}


def _backfill(here: Project, dsn: str, tenant: Tenant, specs: list[str]) -> None:
    console.say("\n3. Research from before the tables: a step result nobody made a row of, and a backfill")
    asyncio.run(_remember(dsn, tenant))
    for spec in specs:
        words = _dex(here, dsn, "backfill", spec, "--org", tenant.org_id, "--json")
        written = {name: count for name, count in words.items() if isinstance(count, int) and count}
        console.say(f"   dex backfill {spec}: {written or 'nothing pending'}")


async def _remember(dsn: str, tenant: Tenant) -> None:
    """A run of last year, as the system before this one left it: the research is stored, and nowhere else."""
    output = {
        **CLIENT,
        "target_company_name": "Old Harbour Freight",
        "target_company_domain": "HTTPS://WWW.OLD-HARBOUR.EXAMPLE/about",
        "parallel_run_id": "trun_recorded_last_year",
        "processor": "ultra",
        "parallel_raw_response": {"output": {"type": "text", "content": "# Old Harbour Freight\n\nA report as text."}},
    }
    payload = {
        "operation_result": {"operation_id": STEPS[1], "status": "found", "output": output},
        "cumulative_context": output,
    }
    ids = {"org": tenant.org_id, "submission": str(uuid.uuid4()), "run": str(uuid.uuid4())}
    async with await connect(dsn) as connection:
        await connection.execute(
            "insert into submissions (id, org_id, input_payload, status)"
            " values (%(submission)s, %(org)s, '{}', 'completed')",
            ids,
        )
        await connection.execute(
            "insert into pipeline_runs (id, org_id, submission_id, status)"
            " values (%(run)s, %(org)s, %(submission)s, 'succeeded')",
            ids,
        )
        await connection.execute(
            "insert into step_results (org_id, submission_id, pipeline_run_id, step_position, status, output_payload,"
            " finished_at) values (%(org)s, %(submission)s, %(run)s, 1, 'succeeded', %(payload)s::jsonb,"
            " now() - interval '1 year')",
            {**ids, "payload": exact_json.dumps(payload).decode()},
        )


def _query(api: str, tenant: Tenant, shown: Mapping[str, list[str]]) -> None:
    console.say("\n4. What a tenant sees over HTTP")
    for slug, columns in shown.items():
        rows = _post(api, f"/api/v1/{slug}/query", tenant, {"limit": 5})["data"]
        console.say(f"   POST /api/v1/{slug}/query: {len(rows)} row(s)")
        for row in rows:
            size = len(json.dumps(row["raw_parallel_output"]))
            console.say(f"      {' | '.join(str(row[name]) for name in columns)} | {size:,} bytes of research")
        if not rows:
            raise DemoFailed(f"`{slug}` answered no rows")


def _close(here: Project, dsn: str, tenant: Tenant) -> None:
    console.say("\n5. The accounts: found = written + unchanged + superseded + filtered + rejected + pending")
    for account in _dex(here, dsn, "coverage", "--org", tenant.org_id, "--json"):
        parts = {name: account[name] for name in account if name not in ("spec", "org_id", "found")}
        console.say(f"   {account['spec']}: {account['found']} = {' + '.join(f'{n} {k}' for k, n in parts.items())}")
        if account["found"] != sum(parts.values()) or account["pending"]:
            raise DemoFailed(f"the accounts of `{account['spec']}` do not close", hint=json.dumps(account))
    console.say("   They close. (`unchanged`: the live block had written the row before the repair looked.)")


# --- processes and HTTP ----------------------------------------------------------------------------------------------


@contextmanager
def _api(here: Project, dsn: str, key: str) -> Iterator[str]:
    environment = {
        "DATABASE_URL": dsn,
        "INTERNAL_API_KEY": key,
        "JWT_SECRET": secrets.token_urlsafe(32),
        "TRIGGER_SECRET_KEY": "",  # whoever has one set is not asking for recorded research there
    }
    command = [sys.executable, "-m", "scripts.dex", "serve", "--port", "0"]
    with _process(here, command, environment, "stderr") as lines:
        yield _await_line(lines, "serving on ").rsplit(" ", 1)[-1]


@contextmanager
def _provider(here: Project) -> Iterator[str]:
    command = node(here, "src/recorded/provider.ts", "--port", "0")
    with _process(here, command, {}, "stdout") as lines:
        yield str(json.loads(_await_line(lines, '"url"'))["url"])


@contextmanager
def _process(here: Project, command: list[str], environment: Mapping[str, str], channel: str) -> Iterator[Any]:
    """Run a process; yield a queue of the lines it says on `channel`. It is stopped on leaving."""
    process = subprocess.Popen(
        command, cwd=here.root, env=_environment(environment), text=True, **{channel: subprocess.PIPE}
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pump, args=(getattr(process, channel), lines), daemon=True).start()
    try:
        yield lines
    finally:
        process.terminate()
        process.wait(timeout=15)


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _await_line(lines: queue.Queue[str | None], wanted: str) -> str:
    said = []
    while (line := lines.get(timeout=60)) is not None:
        if wanted in line:
            return line.strip()
        said.append(line)
    raise DemoFailed("a process ended before it was ready", hint="".join(said)[-2000:])


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **more}


def _dex(here: Project, dsn: str, *words: str) -> Any:
    command = [sys.executable, "-m", "scripts.dex", *words]
    done = subprocess.run(
        command, cwd=here.root, env=_environment({"DATABASE_URL": dsn}), capture_output=True, text=True
    )
    if done.returncode:
        raise DemoFailed(f"`dex {' '.join(words)}` ended with {done.returncode}", hint=done.stderr[-2000:])
    return json.loads(done.stdout)


def _post(api: str, path: str, tenant: Tenant, body: Any) -> Any:
    return _answer(httpx.post(api + path, json=body, headers=_bearer(tenant), timeout=60))


def _get(api: str, path: str, tenant: Tenant) -> Any:
    return _answer(httpx.get(api + path, headers=_bearer(tenant), timeout=60))


def _bearer(tenant: Tenant) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant.token}"}


def _answer(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise DemoFailed(f"{response.request.url.path} answered {response.status_code}", hint=response.text[:2000])
    return response.json()
