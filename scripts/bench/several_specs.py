"""Benchmark of a second spec for one operation: the same research with one spec and with two, live and reconciled.

Live means whole runs by the real runner, with orders to the recorded provider. Reconciled means `dex reconcile` over
stored step results. In every round, both are measured with one spec and with two. The first spec is the project's
own, which stores the document; the second writes one row of four short columns.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psycopg

from engine.generate.files import write_files
from engine.generate.generators import build_generated_files
from engine.plan import Plan
from engine.plans import load_plans
from engine.project import Project, find_project
from engine.tables.draft_migration import build_create_migration
from scripts.bench.api_process import start_api
from scripts.bench.dataset import Server, build_id, fill_step_results
from scripts.bench.process import build_installed_command, run_measured
from scripts.bench.result import Group, Line
from scripts.bench.text import TABLE
from scripts.commands.server import build_node_command
from scripts.processes import start_process

SIZE = 20_000  # bytes of a document
_SECOND = """\
spec: 1
name: company_researches
title: Company research
operations: [company.derive.intel_briefing]
table: company_researches
row_name: company_research
conflict: [org_id, company_domain, client_company_name]
fields:
  company_domain: {type: text, path: "output.domain", normalize: [domain], required: true, filter: true}
  client_company_name: {type: text, path: "output.client_company_name"}
  company_name: {type: text, path: "output.company_name"}
  parallel_run_id: {type: text, path: "output.parallel_run_id"}
"""
_RUN_INPUT = (
    '{{"target_company_name": "Company {number}", "target_company_domain": "company-{number}.example",'
    ' "client_company_name": "Client", "client_company_description": "Insures."}}'
)
_DELETE_ROWS = "truncate {tables}, step_persistence, row_lineage, stale_rows"


def measure_several_specs(server: Server, rows: int, rounds: int, report: Callable[[str], None]) -> Group:
    """Measure `dex reconcile` over `rows` step results, and live runs of `rows` / 100, with one and with two specs."""
    runs = max(rows // 100, 10)
    with tempfile.TemporaryDirectory() as folder, server.create_database("several") as dsn:
        one, two = (_make_project(Path(folder) / name, specs) for name, specs in (("one", 1), ("two", 2)))
        plans = load_plans(two)
        report(f"several specs: making {rows:,} step results")
        fill_step_results(dsn, rows, SIZE)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(build_create_migration(plans[1]).encode())
        sweeps, lives, upserts = [], [], []
        for number in range(rounds):
            report(f"several specs: round {number + 1} of {rounds}")
            sweeps.append(tuple(_measure_sweep(dsn, project, plans) for project in (one, two)))
            upserts.append(tuple(_measure_upserts(dsn, project, plans, min(rows, 300)) for project in (one, two)))
            lives.append(tuple(_measure_runs(dsn, project, runs) for project in (one, two)))
    return Group(
        f"a second spec of an operation: {rows:,} step results of 20 KB, {runs} live runs; {server.name};"
        f" median of {rounds}",
        [
            Line("a sweep of two specs, against one", _compute_ratio(sweeps), most=1.3, note=_describe_seconds(sweeps)),
            Line("live runs, against one", _compute_ratio(lives), most=1.3, note=_describe_seconds(lives)),
            Line("only their upserts, sent at once", _compute_ratio(upserts), note=_describe_seconds(upserts)),
        ],
    )


def _compute_ratio(pairs: Sequence[tuple[float, ...]]) -> float:
    return median(two / one for one, two in pairs)


def _describe_seconds(pairs: Sequence[tuple[float, ...]]) -> str:
    one, two = (median(pair[side] for pair in pairs) for side in (0, 1))
    return f"{one:.2f} s and {two:.2f} s"


def _make_project(folder: Path, specs: int) -> Project:
    """Create a project with `specs` (1 or 2) specs and the generated runner for them."""
    here = find_project()
    (folder / "specs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "migrations").symlink_to(here.migrations)
    shutil.copy(here.specs / f"{TABLE}.yaml", folder / "specs")
    shutil.copytree(here.specs / "prompts", folder / "specs" / "prompts")
    if specs > 1:
        (folder / "specs" / "company_researches.yaml").write_text(_SECOND)
    for name in ("src", "recorded-provider"):
        shutil.copytree(here.root / "trigger" / name, folder / "trigger" / name)
    for name in ("node_modules", "package.json", "tsconfig.json"):
        (folder / "trigger" / name).symlink_to(here.root / "trigger" / name)
    project = Project(folder)
    write_files(folder, build_generated_files(load_plans(project)))
    return project


def _delete_rows(dsn: str, plans: Sequence[Plan]) -> None:
    tables = ", ".join(plan.table for plan in plans)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_DELETE_ROWS.format(tables=tables).encode())


def _measure_sweep(dsn: str, project: Project, plans: Sequence[Plan]) -> float:
    _delete_rows(dsn, plans)
    measured = run_measured(build_installed_command("reconcile", "--json"), {"DATABASE_URL": dsn}, cwd=project.root)
    return measured.wall


def _measure_upserts(dsn: str, project: Project, plans: Sequence[Plan], count: int) -> float:
    """Return the seconds for upserting the rows of `count` step results one by one, each for all specs concurrently."""
    _delete_rows(dsn, plans)
    served = load_plans(project)
    with psycopg.connect(dsn) as connection:
        step_results = connection.execute(
            "select id::text, org_id::text, submission_id::text, pipeline_run_id::text,"
            " output_payload -> 'operation_result' -> 'output' from step_results order by id limit %s",
            (count,),
        ).fetchall()
    with start_api(dsn, project.root) as api:
        return asyncio.run(_store_steps(api.port, api.build_headers, step_results, served))


def _measure_runs(dsn: str, project: Project, count: int) -> float:
    """Return the seconds that the runner takes to start and to execute `count` runs of one step."""
    org = str(build_id(1, 0))
    inputs = [
        argument
        for number in range(count)
        for argument in ("--input", _RUN_INPUT.format(number=f"{time.monotonic_ns()}-{number}"))
    ]
    submit = build_installed_command(
        "submit", "--json", "--org", org, "--step", "company.derive.intel_briefing", *inputs
    )
    run_measured(submit, {"DATABASE_URL": dsn}, cwd=project.root)
    provider = build_node_command(project, "recorded-provider/main.ts", "--delay", "0")
    with start_api(dsn, project.root) as api, start_process(provider, cwd=project.root) as started:
        environment = {
            "DATA_ENGINE_API_URL": f"http://127.0.0.1:{api.port}",
            "DATA_ENGINE_INTERNAL_API_KEY": api.key,
            "PARALLEL_API_KEY": "key-of-the-recorded-provider",
            "PARALLEL_BASE_URL": json.loads(started.wait_for_line('"url"'))["url"],
        }
        worker = build_node_command(project, "src/local-runner/main.ts", "--until-idle", "--org", org)
        return run_measured(worker, environment, prints_json=False, cwd=project.root).wall


async def _store_steps(
    port: int, build_headers: Callable[[str], dict[str, str]], step_results: Sequence[Any], plans: Sequence[Plan]
) -> float:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        async def store_row(plan: Plan, step: Any) -> None:
            step_id, org_id, submission_id, run_id, output = step
            body = {
                **{column.name: path.search({"output": output}) for column, path in plan.mappings[0].sources},
                "source_submission_id": submission_id,
                "source_pipeline_run_id": run_id,
                "source_step_result_id": step_id,
            }
            answer = await client.post(f"/api/internal/{plan.slug}/upsert", json=body, headers=build_headers(org_id))
            answer.raise_for_status()

        for step in step_results[:20]:  # not measured: prepares statements and fills caches
            await asyncio.gather(*(store_row(plan, step) for plan in plans))
        started = time.monotonic()
        for step in step_results[20:]:
            await asyncio.gather(*(store_row(plan, step) for plan in plans))
        return time.monotonic() - started
