"""Spec: its text, its columns, and which paths never give a value."""

import psycopg
from playwright.sync_api import expect

from tests.api.loopback import ADMIN_KEY, bearer_headers
from tests.conftest import ROOT, load_project_plans
from tests.console.conftest import Console
from tests.console.example import BRIEFING
from tests.world import build_payload, insert_run, insert_step, insert_submission

SPEC = "company_intel_briefings"


def test_it_shows_where_each_column_comes_from_and_how_often(console: Console, token: str) -> None:
    page = console.open(f"#/specs/{SPEC}", key=token)
    answer = console.api.client.get(f"/api/v1/specs/{SPEC}/samples", headers=bearer_headers(token)).json()["data"]
    plan = next(plan for plan in load_project_plans() if plan.name == SPEC)
    rows = page.locator("table.spec-columns tbody tr")
    expect(rows).to_have_count(len(plan.fields))
    for index, column in enumerate(answer["columns"]):
        path = plan.mappings[0].paths[index]
        assert path is not None
        expect(rows.nth(index)).to_contain_text(path.text)
        total = column["values"] + column["missing"] + column["refused"]
        expect(rows.nth(index)).to_contain_text(f"{column['values']} of {total}")
    assert answer["step_results"] == 7


def test_a_path_that_never_gives_a_value_stands_out(console: Console) -> None:
    org = console.api.insert_organisation()
    with psycopg.connect(console.api.dsn, autocommit=True) as connection:
        run = insert_run(connection, org, insert_submission(connection, org))
        insert_step(connection, run, payload=build_payload(BRIEFING, {"domain": "a.example"}))
    page = console.open(f"#/specs/{SPEC}", key=console.api.insert_token(org))
    wrong = page.locator("tr.never", has_text="company_name")
    expect(wrong.first).to_contain_text("never gave a value")
    expect(page.locator("tr", has_text="company_domain").first).not_to_contain_text("never gave a value")


def test_the_text_names_no_other_organisation(console: Console, token: str) -> None:
    whole = (ROOT / "specs" / f"{SPEC}.yaml").read_text(encoding="utf-8")
    assert "backfill:" in whole and "SecurityPal" in whole
    own = console.api.client.get(f"/api/v1/specs/{SPEC}", headers=bearer_headers(token)).json()["data"]["yaml"]
    assert "backfill" not in own and "SecurityPal" not in own
    assert own == whole[: whole.index("backfill:")]
    admin = console.api.client.get(f"/api/v1/specs/{SPEC}", headers=bearer_headers(ADMIN_KEY)).json()["data"]
    assert admin["yaml"] == whole
    page = console.open(f"#/specs/{SPEC}", key=token)
    expect(page.locator("pre.yaml")).to_contain_text("conflict: [org_id, company_domain, client_company_name]")
    expect(page.locator("pre.wrapped")).to_be_visible()
