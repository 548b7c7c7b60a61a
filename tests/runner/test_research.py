"""An operation that is one spec: researched by the real runner, made up by the recorded provider, read by two specs."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.plain_http import HTTP
from tests.runner.conftest import TRIGGER, Services, World, bundle_script, create_world
from tests.runner.proxy import Cut, Exchange, start_proxy
from tests.runner.test_faults import run_through_proxy
from tests.runner.test_rows import run_dex, run_project

FUNDING = "company.derive.funding"
SPEC = f"""\
spec: 1
name: company_funding
title: Company funding
description: One row per company and funding round.
operations: [{FUNDING}]
research:
  provider: parallel
  processor: pro
  prompt: |
    List the funding rounds of {{{{company_name}}}} ({{{{company_domain}}}}).
    Known already: {{{{known}}}}
  inputs:
    company_name: {{path: "context.company_name", required: true}}
    company_domain: {{path: ["context.company_domain", "context.domain"], normalize: [domain], required: true}}
    known: {{path: "join(', ', context.known)"}}
  output_schema: from_fields
  output:
    domain: "inputs.company_domain"
  fresh_for: 90d
table: company_funding
row_name: funding_round
conflict: [org_id, company_domain, round_name]
rows: "output.parallel_raw_response.output.content.rounds"
fields:
  company_domain: {{type: text, path: "output.domain", normalize: [domain], required: true, filter: true}}
  round_name: {{type: text, path: "item.name", required: true, description: "Name of the round, for example Series B"}}
  amount_usd: {{type: numeric, path: "item.amount_usd"}}
  closed_on: {{type: date, path: "item.closed_on"}}
  lead_domain: {{type: text, path: "item.lead.website", normalize: [domain]}}
"""
SECOND = f"""\
spec: 1
name: funding_answers
title: Funding answer
description: One row per company, with the answer as it came.
operations: [{FUNDING}]
table: funding_answers
row_name: funding_answer
conflict: [org_id, company_domain]
fields:
  company_domain: {{type: text, path: "output.domain", required: true}}
  answer: {{type: jsonb, path: "output.parallel_raw_response.output.content"}}
"""


@pytest.fixture
def own(services: Services, tmp_path: Path, server_dsn: str, template: str) -> Iterator[World]:
    """A project with one operation of its own and two specs that read its answers, at work."""
    copy = tmp_path / "project"
    (copy / "specs").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "migrations", copy / "migrations")
    (copy / "specs" / "company_funding.yaml").write_text(SPEC)
    (copy / "specs" / "funding_answers.yaml").write_text(SECOND)
    shutil.copytree(TRIGGER, copy / "trigger", ignore=shutil.ignore_patterns("node_modules", "generated", "tests"))
    (copy / "trigger" / "node_modules").symlink_to(TRIGGER / "node_modules")
    for command in ("draft-migration company_funding", "draft-migration funding_answers", "generate"):
        run_dex(copy, command)
    with run_project(services, copy, server_dsn, template) as mine, create_world(mine) as world:
        yield world


def test_a_spec_is_researched_into_rows_and_a_second_one_reads_the_same_answer(own: World) -> None:
    context = {"company_name": "Acme", "company_domain": "not a domain", "domain": "https://www.Acme.com/about"}
    refused = own.queue_run([FUNDING], {"company_name": "Nowhere", "domain": "not a domain", "known": []})
    leave_to_an_older_api(own, refused)
    run_id = own.queue_run([FUNDING], {**context, "known": []})
    worker = own.run_worker()
    (order,) = [order for order in list_orders(own) if order["metadata"]["pipeline_run_id"] == run_id]
    assert order["input"] == "List the funding rounds of Acme (acme.com)."
    assert order["made_up"] is True
    schema = order["task_spec"]["output_schema"]["json_schema"]
    element = schema["properties"]["rounds"]["items"]
    assert list(element["properties"]) == ["name", "amount_usd", "closed_on", "lead"]
    assert element["properties"]["name"] == {"type": "string", "description": "Name of the round, for example Series B"}
    rows = sorted(own.select_rows("company_funding"), key=lambda row: row["amount_usd"])
    assert [(row["company_domain"], row["amount_usd"]) for row in rows] == [("acme.com", 1.5), ("acme.com", 2.5)]
    assert [row["lead_domain"] for row in rows] == ["made-up-1.example.com", "made-up-2.example.com"]
    (answer,) = own.select_rows("funding_answers")
    assert [row["name"] for row in answer["answer"]["rounds"]] == [row["round_name"] for row in rows]
    accounts = {account["spec"]: (account["found"], account["pending"]) for account in own.fetch_coverage()}
    assert accounts == {"company_funding": (1, 0), "funding_answers": (1, 0)}, worker.text

    failed = own.execute(
        "select error_message from step_results where org_id = %s and status = 'failed'", (own.org_id,)
    )
    assert failed == [
        (
            'the context has no `company_domain` (`domain` refuses "not a domain": it is not the name of a host;'
            " it comes from `context.company_domain` or `context.domain`)",
        )
    ]
    assert len(list_orders(own)) == 1


def leave_to_an_older_api(own: World, run_id: str) -> None:
    """Execute a run beside an API that does not know the operation yet: it says so, and waits for the next runner."""

    def ask_for_another_operation(exchange: Exchange) -> None:
        if exchange.path.endswith("/normalize-inputs"):
            exchange.body = exchange.body.replace(FUNDING.encode(), b"company.derive.futures")

    worker = run_through_proxy(own, ask_for_another_operation)
    run = own.select_run(run_id)
    assert (worker.popen.returncode, run["status"]) == (1, "running"), worker.text
    assert run["error_message"].endswith("; deploy the API with the specs of the runner"), run
    own.expire_lease(run_id)


def test_an_answer_is_of_the_processor_that_it_was_bought_with(own: World) -> None:
    """Between the order and its answer the spec gets another prompt and another processor."""

    def keep_away(exchange: Exchange) -> None:
        if exchange.method == "GET":
            raise Cut

    context = {"company_name": "Acme", "domain": "acme.com", "known": []}
    run_id = own.queue_run([FUNDING], context, timeout_seconds=1)
    with start_proxy(own.provider_url, keep_away) as url:
        assert own.run_worker(PARALLEL_BASE_URL=url).popen.returncode == 1
    changed = SPEC.replace("processor: pro", "processor: core").replace("Known already:", "Known:")
    (own.services.root / "specs" / "company_funding.yaml").write_text(changed)
    run_dex(own.services.root, "generate")
    bundle_script.cache_clear()
    own.run_dex("runs", "retry", run_id)
    worker = own.run_worker()
    assert worker.popen.returncode == 0, worker.text
    (step,) = own.select_steps(run_id)
    result = step["output_payload"]["operation_result"]
    (attempt,) = result["provider_attempts"]
    assert (result["output"]["processor"], attempt["processor"], attempt["action"]) == ("pro", "pro", "resumed")
    assert len(own.select_orders()) == 1


def list_orders(own: World) -> list[dict[str, Any]]:
    """Return the orders of this project's operation, as the provider has them in its book."""
    orders = HTTP.get(f"{own.provider_url}/recorded/requests").json()["orders"]
    return [order for order in orders if "List the funding rounds of" in str(order["input"])]
