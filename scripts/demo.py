"""`dex demo`: run a pipeline on recorded research, then show its rows, a backfill, a query and the accounts.

It uses only what users have: the API over HTTP, and `dex` as a process. It raises DemoFailed when a result is not as
expected. It creates an organisation of its own, since the database may contain other data.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from engine.errors import EngineError
from engine.plan import Plan
from engine.plans import load_plans
from engine.project import Project
from engine.rows.outcomes import Outcome
from engine.store.connection import connect
from engine.tables import migrate
from engine.values import exact_json
from scripts import terminal
from scripts.commands.server import build_node_command
from scripts.database_url import describe_database, open_database
from scripts.processes import build_dex_command, start_process

STEPS = ("company.derive.icp_job_titles", "company.derive.intel_briefing", "person.derive.intel_briefing")
#: Where `make serve` serves the console.
CONSOLE = "http://127.0.0.1:8000/console"
CLIENT = {
    "client_company_name": "Harbor Assurance",
    "client_company_description": "Insures companies against cyber risk.",
}
INPUTS = (
    {"domain": "northwind-robotics.example", "company_name": "Northwind Robotics", "full_name": "Mara Lindqvist"},
    {"domain": "www.Bluepeak-Analytics.example/", "company_name": "Bluepeak Analytics", "full_name": "Tomas Okafor"},
)


class DemoFailed(EngineError):
    """A result of the demo is not as expected."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The demo's organisation and an API token for it."""

    org_id: str
    token: str


def run_demo(here: Project) -> None:
    """Run the demo on `DATABASE_URL` or the embedded Postgres. Raises DemoFailed when a result is not as expected."""
    began = time.monotonic()
    build_node_command(here, "src/local-runner/main.ts")  # reports a missing runner before anything is done
    plans = load_plans(here)
    with ExitStack() as stack:
        terminal.print_line(f"1. {describe_database()}: migrations")
        dsn = stack.enter_context(open_database(here))
        report = asyncio.run(migrate.migrate(dsn, here.migrations))
        terminal.print_line(
            f"   {len(report.applied)} applied; {len(plans)} specs, {sum(len(p.fields) for p in plans)} columns"
        )
        tenant = asyncio.run(_create_tenant(dsn))
        key = secrets.token_urlsafe(32)
        api = stack.enter_context(_start_api(here, dsn, key))
        provider = stack.enter_context(_start_provider(here))
        _run_pipelines(here, api, key, provider, tenant)
        _backfill_specs(here, dsn, tenant, [plan.name for plan in plans])
        terminal.print_line("\n4. What a tenant sees over HTTP")
        answered = {plan.name for plan in plans if _query_rows(api, tenant, plan)}
        _check_accounts(here, dsn, tenant, answered)
    seconds = time.monotonic() - began
    terminal.print_line(f"\nDone in {seconds:.0f} s. Next: `make serve`, which shows all of it at {CONSOLE}")
    terminal.print_line('and prints the address that signs in; then README.md, "Add an operation".')


async def _create_tenant(dsn: str) -> Tenant:
    token = secrets.token_urlsafe(32)
    async with await connect(dsn) as connection:
        cursor = await connection.execute(
            "insert into orgs (name, slug) values ('Demo', 'demo')"
            " on conflict (slug) do update set name = excluded.name returning id::text"
        )
        (org_id,) = await cursor.fetchone() or ("",)
        await connection.execute(
            "insert into api_tokens (org_id, name, token_hash, role, expires_at)"
            " values (%s, 'demo', %s, 'org_admin', now() + interval '1 day')",
            (org_id, hashlib.sha256(token.encode()).hexdigest()),
        )
    return Tenant(org_id, token)


def _run_pipelines(here: Project, api: str, key: str, provider: str, tenant: Tenant) -> None:
    terminal.print_line(
        f"\n2. One submission: {len(INPUTS)} inputs, {len(STEPS)} operations each, through the real runner"
    )
    body = {"steps": [{"operation_id": step} for step in STEPS], "inputs": [_build_input(given) for given in INPUTS]}
    answer = _post(api, "/api/v1/submissions", tenant, body)
    environment = {
        "DATA_ENGINE_API_URL": api,
        "DATA_ENGINE_INTERNAL_API_KEY": key,
        "PARALLEL_API_KEY": "key-of-the-recorded-provider",
        "PARALLEL_BASE_URL": provider,
    }
    worker = build_dex_command("worker", "--until-idle", "--org", tenant.org_id)
    done = _run_command(here, worker, environment)
    if done.returncode:
        raise DemoFailed(f"the runner ended with {done.returncode}", hint=(done.stdout + done.stderr)[-2000:])
    submission = _get(api, f"/api/v1/submissions/{answer['data']['id']}", tenant)["data"]
    for run in submission["pipeline_runs"]:
        steps = ", ".join(f"{step['operation_id']} {step['status']}" for step in run["step_results"])
        terminal.print_line(f"   run {run['id'][:8]} {run['status']}: {steps}")
    if submission["status"] != "completed":
        hint = json.dumps(submission)[:2000]
        raise DemoFailed(f"the submission is `{submission['status']}`, not `completed`", hint=hint)


def _build_input(subject: Mapping[str, str]) -> dict[str, str]:
    """Return a run's input with the fields that the operations read."""
    company = {"target_company_name": subject["company_name"], "target_company_domain": subject["domain"]}
    person = {
        "person_full_name": subject["full_name"],
        "person_current_company_name": subject["company_name"],
        "person_linkedin_url": f"https://www.linkedin.com/in/{subject['full_name'].split()[0].lower()}-demo/",
    }
    return {**subject, **company, **person, **CLIENT, "company_description": "Makes what its name says."}


def _backfill_specs(here: Project, dsn: str, tenant: Tenant, specs: list[str]) -> None:
    terminal.print_line("\n3. Research from before the tables: a step result nobody made a row of, and a backfill")
    asyncio.run(_insert_old_run(dsn, tenant))
    for spec in specs:
        report = _run_dex(here, dsn, "backfill", spec, "--org", tenant.org_id, "--json")
        written = {name: count for name, count in report.items() if isinstance(count, int) and count}
        terminal.print_line(f"   dex backfill {spec}: {written or 'nothing pending'}")


async def _insert_old_run(dsn: str, tenant: Tenant) -> None:
    """Insert a run of last year whose step result has research, but gave no row yet."""
    output: dict[str, exact_json.Json] = {
        **CLIENT,
        "target_company_name": "Old Harbour Freight",
        "target_company_domain": "HTTPS://WWW.OLD-HARBOUR.EXAMPLE/about",
        "parallel_run_id": "trun_recorded_last_year",
        "processor": "ultra",
        "parallel_raw_response": {"output": {"type": "text", "content": "# Old Harbour Freight\n\nA report as text."}},
    }
    payload: exact_json.Json = {
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


def _choose_columns(plan: Plan) -> list[str]:
    """Return the columns of a spec that the demo prints: its key, those with filters, and the id of the research."""
    research = [column for column in plan.fields if column.name == "parallel_run_id"]
    return list(dict.fromkeys(column.name for column in (*plan.key_fields, *plan.filters, *research)))


def _query_rows(api: str, tenant: Tenant, plan: Plan) -> bool:
    """Query and print the rows of a spec; return whether there are any."""
    rows = _post(api, f"/api/v1/{plan.slug}/query", tenant, {"limit": 5})["data"]
    terminal.print_line(f"   POST /api/v1/{plan.slug}/query: {len(rows)} row(s)")
    names = _choose_columns(plan)
    for row in rows:
        cells = " | ".join(str(row[name]) for name in names)
        terminal.print_line(f"      {cells} | {len(json.dumps(row)):,} bytes in all")
    return bool(rows)


def _check_accounts(here: Project, dsn: str, tenant: Tenant, answered: Set[str]) -> None:
    """Check that the accounts close, and that the specs with rows, and only they, `answered` the query.

    A spec of the user's own may have no rows: the demo executes the operations of STEPS only.
    """
    terminal.print_line("\n5. The accounts: found = written + unchanged + superseded + filtered + rejected + pending")
    for account in _run_dex(here, dsn, "coverage", "--org", tenant.org_id, "--json"):
        parts = {name: account[name] for name in (*Outcome, "pending")}
        total = " + ".join(f"{count} {outcome}" for outcome, count in parts.items())
        terminal.print_line(f"   {account['spec']}: {account['found']} = {total}")
        if account["found"] != sum(parts.values()) or account["pending"]:
            raise DemoFailed(f"the accounts of `{account['spec']}` do not close", hint=json.dumps(account))
        has_rows = account["written"] + account["unchanged"] > 0
        if has_rows != (account["spec"] in answered):
            raise DemoFailed(f"the query of `{account['spec']}` does not answer its rows", hint=json.dumps(account))
    terminal.print_line("   They close.")


# --- processes and HTTP ----------------------------------------------------------------------------------------------


@contextmanager
def _start_api(here: Project, dsn: str, key: str) -> Iterator[str]:
    """Run `dex serve` on a free port during a `with` block; yield its URL."""
    environment = {
        "DATABASE_URL": dsn,
        "INTERNAL_API_KEY": key,
        "JWT_SECRET": secrets.token_urlsafe(32),
        "TRIGGER_SECRET_KEY": "",  # with the user's own key, the runs would go to Trigger.dev
    }
    with start_process(build_dex_command("serve", "--port", "0"), environment, cwd=here.root) as process:
        yield process.wait_for_line("serving on ").rsplit(" ", 1)[-1]


@contextmanager
def _start_provider(here: Project) -> Iterator[str]:
    """Run the recorded provider during a `with` block; yield its URL."""
    command = build_node_command(here, "recorded-provider/main.ts", "--port", "0")
    with start_process(command, cwd=here.root) as process:
        yield str(json.loads(process.wait_for_line('"url"'))["url"])


def _run_dex(here: Project, dsn: str, *arguments: str) -> Any:
    """Run `dex` with `--json` and return the JSON it prints. Raises DemoFailed when it fails."""
    done = _run_command(here, build_dex_command(*arguments), {"DATABASE_URL": dsn})
    if done.returncode:
        raise DemoFailed(f"`dex {' '.join(arguments)}` ended with {done.returncode}", hint=done.stderr[-2000:])
    return json.loads(done.stdout)


def _run_command(here: Project, command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=here.root, env=variables, capture_output=True, text=True, check=False)


def _post(api: str, path: str, tenant: Tenant, body: Any) -> Any:
    return _read_answer(httpx.post(api + path, json=body, headers=_build_headers(tenant), timeout=60))


def _get(api: str, path: str, tenant: Tenant) -> Any:
    return _read_answer(httpx.get(api + path, headers=_build_headers(tenant), timeout=60))


def _build_headers(tenant: Tenant) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant.token}"}


def _read_answer(response: httpx.Response) -> Any:
    if response.status_code >= 400:
        raise DemoFailed(f"{response.request.url.path} answered {response.status_code}", hint=response.text[:2000])
    return response.json()
