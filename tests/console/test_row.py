"""Row: the research to be read, its evidence, its way and its history."""

import json
from typing import Any

from playwright.sync_api import Page, expect

from tests.api.loopback import Api, bearer_headers
from tests.console.conftest import Console
from tests.console.example import Example

BRIEFINGS = "company_intel_briefings"
REPORT = """# Quay Street

A report **as text**, with [a source](https://example.com/a) and <b>markup</b>.

- first point
- second point

| year | staff |
|------|-------|
| 2024 | 12    |
"""


def find_row(api: Api, org: str, domain: str) -> str:
    return str(
        api.fetch_value(
            "select id from company_intel_briefings where org_id = %s and company_domain = %s", (org, domain)
        )
    )


def test_the_research_is_laid_out(console: Console, example: Example, token: str) -> None:
    row_id = find_row(console.api, example.demo, "northwind-robotics.example")
    page = console.open(f"#/rows/{BRIEFINGS}/{row_id}", key=token)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind Robotics")
    answer = console.api.client.get(f"/api/v1/company-intel-briefings/{row_id}", headers=bearer_headers(token))
    document = answer.json()["data"]["raw_parallel_output"]
    shown = page.locator("section[aria-labelledby=column-raw_parallel_output]")
    expect(shown.get_by_role("heading", level=3).first).to_be_visible()
    for text in list_texts(document):
        expect(shown).to_contain_text(text[:60])
    # Numbers are spelled as the endpoint spells them, however JavaScript would.
    assert '"revenue_eur_millions":61.10' in answer.text.replace(": ", ":")
    expect(shown).to_contain_text("61.10")
    expect(shown).to_contain_text("29384756102938475610293847561")
    shown.get_by_role("button", name="As JSON").click()
    expect(shown.locator("pre")).to_contain_text('"revenue_eur_millions": 61.10')


def test_a_report_as_text_has_headings_and_never_markup(console: Console) -> None:
    page = open_briefing(console, REPORT)
    report = page.locator("section[aria-labelledby=column-raw_parallel_output]")
    expect(report.get_by_role("heading", name="Quay Street")).to_be_visible()
    expect(report.get_by_role("listitem")).to_have_text(["first point", "second point"])
    expect(report.get_by_role("cell")).to_have_text(["2024", "12"])
    expect(report.get_by_text("<b>markup</b>")).to_be_visible()
    assert report.locator("b").count() == 0
    link = report.get_by_role("link", name="a source")
    assert link.get_attribute("href") == "https://example.com/a"
    assert "noopener" in str(link.get_attribute("rel"))


def test_a_huge_document_opens_at_once_and_in_parts(console: Console) -> None:
    document = {"people": [{"name": f"Person {n}", "notes": {"text": "x" * 300, "n": n}} for n in range(800)]}
    page = open_briefing(console, document)
    expect(page.get_by_text("Person 0", exact=True)).to_be_visible()
    expect(page.get_by_text("Person 40", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Show more: 40 of 800").click()
    expect(page.get_by_text("Person 40", exact=True)).to_be_visible()


def test_anothers_row_is_not_there(console: Console, example: Example, token: str) -> None:
    page = console.open(f"#/rows/{BRIEFINGS}/{example.other_row}", key=token)
    expect(page.get_by_role("alert").first).to_contain_text("there is no such row")
    page.goto(f"{console.api.url}/console#/steps/{example.other_step}")
    expect(page.get_by_role("alert").first).to_contain_text("there is no such step result")


def open_briefing(console: Console, document: Any) -> Page:
    """Insert a row with this document for an organisation of its own; open its page."""
    org = console.api.insert_organisation()
    console.api.execute(
        "insert into company_intel_briefings (org_id, company_domain, client_company_name, raw_parallel_output)"
        " values (%s, 'quay.example', 'C', %s)",
        (org, json.dumps(document)),
    )
    row = find_row(console.api, org, "quay.example")
    return console.open(f"#/rows/{BRIEFINGS}/{row}", key=console.api.insert_token(org))


def list_texts(value: Any) -> list[str]:
    """Return the texts of a document that stand on one line."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in list_texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in list_texts(one)]
    return [value] if isinstance(value, str) and value.strip() and "\n" not in value and "*" not in value else []


def test_evidence_stands_beside_the_value_it_is_about(console: Console, example: Example, token: str) -> None:
    row_id = find_row(console.api, example.demo, "northwind-robotics.example")
    page = console.open(f"#/rows/{BRIEFINGS}/{row_id}", key=token)
    step = console.api.fetch_value(
        "select output_payload #> '{operation_result,output,parallel_raw_response,output,basis}' from step_results"
        " where id = (select source_step_result_id from company_intel_briefings where id = %s)",
        (row_id,),
    )
    expect(page.locator(".evidence .evidence-note")).to_have_count(len(step))
    note = next(note for note in step if note["field"] == "business_summary")
    line = page.locator("dl.facts > div", has=page.locator("dt", has_text="Business summary"))
    expect(line.locator(".evidence")).to_contain_text(f"{note['confidence']} confidence")
    link = line.get_by_role("link", name=note["citations"][0]["title"])
    assert link.get_attribute("href") == note["citations"][0]["url"]
    assert link.get_attribute("target") == "_blank" and "noopener" in str(link.get_attribute("rel"))
    line.get_by_text("Reasoning").click()
    expect(line).to_contain_text(note["reasoning"])


def test_every_value_says_where_it_comes_from(console: Console, example: Example, token: str) -> None:
    row_id = find_row(console.api, example.demo, "northwind-robotics.example")
    explained = console.api.client.get(
        f"/api/v1/company-intel-briefings/{row_id}/explain", headers=bearer_headers(token)
    ).json()["data"]
    cell = next(cell for cell in explained["cells"] if cell["field"] == "company_domain")
    page = console.open(f"#/rows/{BRIEFINGS}/{row_id}", key=token)
    line = page.locator("dl.columns > div", has=page.locator("dt", has_text="Company domain"))
    line.locator("summary").click()
    for text in (cell["path"], cell["steps"][0]["normalizer"], json.dumps(cell["raw"])):
        expect(line).to_contain_text(text)
    line.locator(f"a[href*='{cell['step_result_id']}']").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Step result")


def test_history_shows_what_changed(console: Console, example: Example, token: str) -> None:
    row_id = find_row(console.api, example.demo, "northwind-robotics.example")
    path = f"/api/v1/company-intel-briefings/{row_id}/history"
    newest, oldest = console.api.client.get(path, headers=bearer_headers(token)).json()["data"]
    page = console.open(f"#/rows/{BRIEFINGS}/{row_id}", key=token)
    history = page.locator("section[aria-labelledby=history]")
    expect(history.locator("tbody tr")).to_have_count(2)
    line = history.locator("dl.changes > div", has=page.get_by_text("parallel_run_id", exact=True))
    expect(line.locator("del")).to_contain_text(oldest["row"]["parallel_run_id"])
    expect(line.locator("ins")).to_contain_text(newest["row"]["parallel_run_id"])
    history.get_by_label("After:").nth(1).check()
    expect(history.locator("dl.changes")).to_have_count(0)
