"""What the database has left to do is among the metrics, and the alerts of the documentation name what is there."""

import re
import time

import psycopg
import yaml

from tests.api.loopback import Api, wait_for_registration
from tests.api.test_telemetry import read_metric
from tests.conftest import ROOT
from tests.world import build_payload, insert_run, insert_step, insert_submission

TITLES = "company.derive.icp_job_titles"
ICP, EVIDENCE = (("spec", "icp_job_titles"),), (("spec", "research_evidence"),)


def test_what_waits_and_what_was_refused_is_counted(own_api: Api) -> None:
    own_api.client.get("/readyz")
    with psycopg.connect(own_api.dsn, autocommit=True) as connection:
        wait_for_registration(own_api)
        org = own_api.insert_organisation()
        run = insert_run(connection, org, insert_submission(connection, org))
        for position, domain in enumerate((None, "a.com")):
            output = {"domain": domain, "parallel_raw_response": {"a": 1}}
            insert_step(connection, run, position=position, payload=build_payload(TITLES, output))
        assert own_api.call_runner("reconcile", {}).status_code == 200
        insert_step(connection, run, position=9, payload=build_payload(TITLES, {"domain": "b.com"}))
        connection.execute(
            "update pending_results set queued_at = now() - interval '1 hour' where spec = 'icp_job_titles'"
        )
        connection.execute(
            "update pipeline_runs set status = 'queued', runner = 'local', created_at = now() - interval '2 hours'"
            " where id = %s",
            [run],
        )
        for number, status in enumerate(("requested", "open", "open", "completed")):
            connection.execute(
                "insert into research_orders (org_id, operation, provider, processor, question, status,"
                " provider_run_id, requested_at)"
                " values (%s, 'a', 'parallel', 'pro', %s, %s, %s, now() - interval '1 day')",
                [org, f"q{number}", status, f"r{number}"],
            )
    assert read_metric(own_api, "dex_pending_results")[ICP] == 1
    assert read_metric(own_api, "dex_pending_results")[EVIDENCE] == 1
    assert 3600 <= read_metric(own_api, "dex_oldest_pending_seconds")[ICP] < 3700
    assert read_metric(own_api, "dex_oldest_pending_seconds")[EVIDENCE] < 100
    assert read_metric(own_api, "dex_rejected_results")[ICP] == 1
    assert read_metric(own_api, "dex_refused_elements")[ICP] == 1
    assert read_metric(own_api, "dex_unfinished_orders") == {
        (("status", "requested"),): 1,
        (("status", "open"),): 2,
        (("status", "unknown"),): 0,
    }
    assert 86_400 <= read_metric(own_api, "dex_oldest_order_seconds")[(("status", "open"),)] < 86_500
    assert read_metric(own_api, "dex_queued_runs") == {(): 1}
    assert 7200 <= read_metric(own_api, "dex_oldest_queued_seconds")[()] < 7300
    assert read_metric(own_api, "dex_database_up") == {(): 1}
    assert sum(read_metric(own_api, "dex_pool_connections").values()) >= 1
    assert list(read_metric(own_api, "dex_build_info").values()) == [1]


def test_a_locked_table_leaves_a_scrape_its_answer(own_api: Api) -> None:
    with psycopg.connect(own_api.dsn) as connection:
        connection.execute("lock table pending_results in access exclusive mode")
        started = time.monotonic()
        assert read_metric(own_api, "dex_database_up") == {(): 0}
        assert time.monotonic() - started < 10, "it waits two seconds for the database, and the lock is held"


def test_the_alerts_name_metrics_that_exist(api: Api) -> None:
    api.client.get("/healthz")
    lines = api.client.get("/metrics").text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    page = (ROOT / "docs" / "howto" / "alerts.md").read_text(encoding="utf-8")
    (rules,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    alerts = yaml.safe_load(rules)["groups"][0]["rules"]
    assert len(alerts) > 8
    for alert in alerts:
        named = set(re.findall(r"\bdex_\w+", alert["expr"]))
        assert named and {name.removesuffix("_bucket").removesuffix("_total") for name in named} <= {
            name.removesuffix("_total") for name in names
        }, alert
        assert alert["annotations"]["summary"] and alert["for"]
    listed = set(re.findall(r"`(dex_\w+)`", page))
    assert {name for name in names if not name.endswith("_created")} <= listed, "every metric is on the page"
