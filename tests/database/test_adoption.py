"""A database of the earlier system is taken over by the commands of docs/howto/adopt-a-database.md, from end to end."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.conftest import ROOT
from tests.database.page_walk import walk_page

PAGE = ROOT / "docs" / "howto" / "adopt-a-database.md"
SHAPE = Path(__file__).with_name("existing_system.sql")
COMPANY, PERSON, TITLES = (
    "company.derive.intel_briefing",
    "person.derive.intel_briefing",
    "company.derive.icp_job_titles",
)
KEYS = (
    ("icp_job_titles", "company_domain"),
    ("company_intel_briefings", "company_domain"),
    ("person_intel_briefings", "person_full_name"),
)
ENVELOPE = {"run": {"status": "completed"}, "output": {"type": "json", "content": {"funding": {"total": "1.10"}}}}


class Existing:
    """The database of the earlier system, filled as its runner and its people would."""

    def __init__(self, dsn: str) -> None:
        self.dsn = f"{dsn}&options={quote('-c search_path=ops,entities')}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(SHAPE.read_bytes())
        self.db = psycopg.connect(self.dsn, autocommit=True)
        self.db.execute("set search_path = entities, ops")
        for name in ("015_icp_job_titles.sql", "016_intel_briefing_tables.sql"):
            self.db.execute((ROOT / "migrations" / name).read_bytes())
        self.db.execute("alter table company_intel_briefings add column client_company_domain text")
        self.db.execute("alter table icp_job_titles add column extracted_titles jsonb")
        self.db.execute("set search_path = ops, entities")
        self.org = self.insert("orgs", name="SecurityPal", slug="securitypal")
        self.company = self.insert("companies", org_id=self.org, name="SecurityPal")
        self.blueprint = self.insert("blueprints", org_id=self.org, name="Briefings")
        self.submission = self.insert(
            "submissions",
            org_id=self.org,
            company_id=self.company,
            blueprint_id=self.blueprint,
            input_payload="{}",
            status="completed",
        )
        self.root = self.add_run()

    def insert(self, table: str, **values: Any) -> str:
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        text = f"insert into {table} ({names}) values ({places}) returning id::text"
        row = self.db.execute(text.encode(), list(values.values())).fetchone()
        assert row is not None
        return str(row[0])

    def add_run(self, parent: str | None = None, status: str = "succeeded") -> str:
        return self.insert(
            "pipeline_runs",
            org_id=self.org,
            company_id=self.company,
            submission_id=self.submission,
            parent_pipeline_run_id=parent,
            blueprint_snapshot="{}",
            status=status,
        )

    def add_step(self, run: str, operation: str, position: int, status: str = "found", **output: Any) -> str:
        output = {"parallel_run_id": f"trun_{position}", "processor": "pro", **output}
        result = {"run_id": "x", "operation_id": operation, "status": status, "output": output, "provider_attempts": []}
        return self.insert(
            "step_results",
            org_id=self.org,
            company_id=self.company,
            submission_id=self.submission,
            pipeline_run_id=run,
            step_position=position,
            status="succeeded",
            input_payload="{}",
            output_payload=json.dumps({"operation_result": result, "cumulative_context": output}),
            finished_at=f"2026-02-{position:02} 12:00+00",
        )

    def add_briefing(self, domain: str, client: str | None, **values: Any) -> str:
        return self.insert(
            "company_intel_briefings",
            org_id=self.org,
            company_domain=domain,
            client_company_name=client,
            raw_parallel_output=json.dumps(ENVELOPE),
            created_at="2026-02-24 21:00+00",
            **values,
        )

    def read(self, query: str) -> list[tuple[Any, ...]]:
        return self.db.execute(query.encode()).fetchall()


@pytest.fixture
def existing(empty_database: str) -> Iterator[Existing]:
    made = Existing(empty_database)
    yield made
    made.db.close()


def test_the_commands_of_the_page(existing: Existing) -> None:
    answer = {"parallel_raw_response": ENVELOPE, "client_company_name": "SecurityPal"}
    child = existing.add_run(existing.root)
    failed = existing.add_run(existing.root, "failed")
    old = existing.add_step(existing.root, COMPANY, 1, domain="coreweave.com", company_name="Old", **answer)
    newest = existing.add_step(child, COMPANY, 2, domain="coreweave.com", company_name="CoreWeave", **answer)
    existing.add_step(failed, TITLES, 3, domain="elastic.co", company_name="Elastic", **answer)
    existing.add_step(child, TITLES, 4, domain="gamma.com.", company_name="Gamma", **answer)
    existing.add_step(child, COMPANY, 5, domain=None, company_name="Nameless", **answer)
    existing.add_step(child, COMPANY, 6, "not_found")
    person = {"person_full_name": "Jim Higgins", "full_name": "Jim Higgins", "person_current_company_name": "Elastic"}
    existing.add_step(child, PERSON, 7, **person, **answer)

    linked = existing.add_briefing("coreweave.com", "SecurityPal", source_pipeline_run_id=child)
    by_hand = existing.add_briefing("byhand.com", None, updated_at="2026-02-25")
    existing.add_briefing("byhand.com", None, updated_at="2026-02-24")
    misspelt = existing.insert(
        "icp_job_titles", org_id=existing.org, company_domain="gamma.com.", raw_parallel_output="{}"
    )

    done = walk_page(PAGE, ROOT, existing.dsn, lambda sql: existing.db.execute(sql.encode()))
    statuses = [(command, status) for command, status, _ in done]
    said = {command: text for command, _, text in done}
    assert statuses == [
        ("dex migrate --status", 0),
        ("dex migrate --baseline 16 --dry-run", 0),
        ("dex migrate --baseline 16", 1),
        ("dex migrate", 0),
        ("dex check --database", 0),
        ("dex coverage", 0),
        ("dex verify", 0),
        ("dex backfill icp_job_titles --dry-run", 0),
        ("dex reconcile", 1),
        ("dex coverage --explain rejected --spec company_intel_briefings", 0),
        ("dex verify", 0),
        *(
            (f"dex query {spec} --filter source_step_result_id.is=null --fields id,org_id,{key}", 0)
            for spec, key in KEYS
        ),
    ], done
    assert "company_intel_briefings: 2 rows with" in said["dex migrate --baseline 16"]
    assert "company_domain" in said["dex coverage --explain rejected --spec company_intel_briefings"]
    assert "icp_job_titles: 3 rows, 2 matching; 1 unsourced" in said["dex verify"]
    assert "company_intel_briefings: 2 rows, 1 matching; 1 unsourced" in said["dex verify"]
    lists = [text for command, text in said.items() if command.startswith("dex query")]
    listed = {row_id for text in lists for row_id in re.findall(r'"id": ?"(.*?)"', text)}
    assert listed == {by_hand, misspelt}, lists
    assert existing.read(
        "select id::text, company_name, source_step_result_id::text, raw_parallel_output::text,"
        " created_at < '2026-02-25'"
        " from company_intel_briefings where company_domain = 'coreweave.com'"
    ) == [(linked, "CoreWeave", newest, '{"funding": {"total": "1.10"}}', True)], "the row of the newest research"
    assert existing.read(
        "select count(*) from row_lineage where step_result_id in"
        f" ('{old}', '{newest}') and spec = 'company_intel_briefings'"
    ) == [(2,)]
    assert existing.read("select person_full_name from person_intel_briefings") == [("Jim Higgins",)]
