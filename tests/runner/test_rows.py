"""A project of one's own: a spec whose one step result is many rows, from the spec to rows without a line of code."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, create_database
from tests.forked_dex import run_dex_text
from tests.plain_http import find_free_port
from tests.runner.conftest import ICP, TRIGGER, Services, World, create_world
from tests.runner.test_pipeline import CONTEXT

SPEC = f"""\
spec: 1
name: buyer_titles
title: Buyer titles
description: One row per job title of a buyer.
operations: [{ICP}]
research:
  provider: parallel
  processor: pro
  prompt: prompts/icp_job_titles.md
  inputs:
    company_name: {{path: "context.company_name", required: true}}
    domain: {{path: "context.domain", required: true}}
    company_description: {{path: "context.company_description"}}
table: buyer_titles
row_name: buyer_title
conflict: [org_id, company_domain, title]
rows: "output.parallel_raw_response.output.content.titles || output.parallel_raw_response.output.content"
when: "context.domain"
fields:
  company_domain: {{type: text, path: "context.domain", normalize: [domain], required: true, filter: true}}
  title: {{type: text, path: "item.title", required: true}}
  buyer_role: {{type: text, path: "item.buyer_role"}}
  is_head: {{type: boolean, path: "item.title && starts_with(item.title, 'Head')"}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, as a user makes one, with one spec of its own."""
    copy = tmp_path_factory.mktemp("copy") / "a project"
    copy.mkdir()
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "migrations", copy / "migrations")
    shutil.copytree(ROOT / "specs" / "prompts", copy / "specs" / "prompts")
    (copy / "specs" / "buyer_titles.yaml").write_text(SPEC)
    shutil.copytree(TRIGGER, copy / "trigger", ignore=shutil.ignore_patterns("node_modules", "generated", "tests"))
    (copy / "trigger" / "node_modules").symlink_to(TRIGGER / "node_modules")
    for command in ("check", "draft-migration buyer_titles", "generate"):
        run_dex(copy, command)
    return copy


def run_dex(project: Path, command: str, **env: str) -> None:
    done = run_dex_text(*command.split(), environment=env, folder=project)
    assert done.returncode == 0, f"dex {command}: {done.stdout}{done.stderr}"


@contextmanager
def run_project(services: Services, project: Path, server_dsn: str, template: str) -> Iterator[Services]:
    """Run a project: its own database and API, the recorded provider of the services."""
    with ExitStack() as stack:
        dsn = stack.enter_context(create_database(server_dsn, template))
        run_dex(project, "migrate", DATABASE_URL=dsn)
        mine = Services(dsn, find_free_port(), services.provider_url, stack, root=project)
        mine.start_api()
        yield mine


@pytest.fixture(scope="module")
def project_services(services: Services, project: Path, server_dsn: str, template: str) -> Iterator[Services]:
    with run_project(services, project, server_dsn, template) as mine:
        yield mine


@pytest.fixture
def project_world(project_services: Services) -> Iterator[World]:
    with create_world(project_services) as world:
        yield world


def test_every_title_is_a_row_and_none_is_left_to_the_repair(project_world: World) -> None:
    project_world.queue_run([ICP], CONTEXT)
    worker = project_world.run_worker()
    assert (worker.popen.returncode, worker.list_warnings()) == (0, []), worker.text
    rows = project_world.select_rows("buyer_titles")
    assert len(rows) == 15
    assert {row["company_domain"] for row in rows} == {"northwind-robotics.example.com"}
    assert {row["title"] for row in rows if row["is_head"]} == {
        "Head of Warehouse Automation",
        "Head of Procurement",
        "Head of Logistics Strategy",
    }
    # The live block wrote rows and ledger entry together: the repair at the end of the run found nothing left to do.
    (account,) = project_world.fetch_coverage()
    assert (account["found"], account["written"], account["rows"]) == (1, 1, 15), account


def test_bad_elements_are_named_and_the_good_one_is_written(project_world: World) -> None:
    project_world.queue_run([ICP], {**CONTEXT, "company_description": "[recorded:array]"})
    worker = project_world.run_worker()
    assert [line["message"] for line in worker.list_warnings() if "element" in line["message"]] == [
        "Buyer titles: element 1 left out, it is a string, not an object",
        "Buyer titles: element 2 left out, it is a number, not an object",
    ]
    assert [row["title"] for row in project_world.select_rows("buyer_titles")] == ["Head of Operations"]
