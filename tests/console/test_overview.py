"""Overview: the numbers are those of the endpoint, and they add up."""

import re

from playwright.sync_api import expect

from tests.api.loopback import ADMIN_KEY, bearer_headers, run_api
from tests.conftest import create_database
from tests.console.conftest import Console
from tests.console.example import SECRET, Example

OUTCOMES = ("written", "unchanged", "superseded", "filtered", "rejected", "pending")


def read_numbers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


def test_it_shows_what_the_endpoint_says(console: Console, token: str) -> None:
    page = console.open(key=token)
    accounts = console.api.client.get("/api/v1/coverage", headers=bearer_headers(token)).json()["data"]
    assert len(accounts) == 4
    for account in accounts:
        card = page.locator(f"section[aria-labelledby=spec-{account['spec']}]")
        expect(card.locator(".sum")).to_have_count(2)
        steps, elements = card.locator(".sum").all_inner_texts()
        assert read_numbers(steps) == [account["found"], *(account[outcome] for outcome in OUTCOMES)]
        assert read_numbers(elements) == [account[name] for name in ("elements", "rows", "duplicates", "refused")]
    briefing = next(account for account in accounts if account["spec"] == "company_intel_briefings")
    assert briefing["rejected"] == 2 and briefing["pending"] == 1 and briefing["superseded"] == 1
    card = page.locator("section[aria-labelledby=spec-company_intel_briefings]")
    shown = card.locator("table.reasons tbody tr").all_inner_texts()
    assert [read_numbers(line)[0] for line in shown] == [reason["count"] for reason in briefing["reasons"]]
    expect(card.get_by_role("link", name="1 pending")).to_be_visible()
    expect(card.locator(".waiting-note time").first).to_be_visible()


def test_it_shows_how_full_the_columns_are(console: Console, token: str) -> None:
    page = console.open(key=token)
    card = page.locator("section[aria-labelledby=spec-icp_job_titles]")
    card.get_by_text("How full the columns are").click()
    answer = console.api.client.get("/api/v1/specs/icp_job_titles/fill-rates", headers=bearer_headers(token))
    rates = answer.json()["data"]
    expect(card.locator(".rates > div")).to_have_count(len(rates["columns"]))
    first = card.locator(".rates > div").first.inner_text()
    assert read_numbers(first)[-2:] == [rates["columns"][0]["filled"], rates["rows"]]


def test_a_super_admin_sees_every_organisation_by_name(console: Console, example: Example) -> None:
    page = console.open(key=ADMIN_KEY)
    expect(page.get_by_role("heading", level=1)).to_have_text("All organisations")
    expect(page.get_by_role("rowheader", name="Globex").first).to_be_visible()
    page.get_by_role("link", name="Globex").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Globex")
    page.get_by_label("Organisation", exact=True).select_option("Harbor Assurance")
    expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Assurance")
    assert f"org={example.demo}" in page.url


def test_the_accounts_of_the_first_organisations_are_there_without_the_others(
    console: Console, example: Example
) -> None:
    def list_organisations(query: str) -> list[str]:
        answer = console.api.client.get(f"/api/v1/coverage/organisations{query}", headers=bearer_headers(ADMIN_KEY))
        return sorted({account["org_id"] for account in answer.json()["data"]})

    assert list_organisations("?limit=1") == [example.other]  # Globex, before Harbor Assurance
    assert list_organisations("?limit=2") == list_organisations("") == sorted([example.other, example.demo])
    refused = console.api.client.get("/api/v1/coverage/organisations?limit=0", headers=bearer_headers(ADMIN_KEY))
    assert refused.status_code == 422


def test_a_tenant_sees_nothing_of_another(console: Console, token: str, example: Example) -> None:
    page = console.open(key=token)
    assert "Globex" not in page.inner_text("body")
    stranger = {"headers": bearer_headers(token)}
    for path in (
        "/api/v1/caller",
        "/api/v1/organisations",
        "/api/v1/specs",
        "/api/v1/coverage/organisations",
        "/api/v1/coverage/steps?spec=company_intel_briefings",
    ):
        text = console.api.client.get(path, **stranger).text
        assert example.other not in text and SECRET not in text and "Globex" not in text
    for path in ("coverage/pending", "coverage/steps?spec=icp_job_titles", "specs/icp_job_titles/fill-rates"):
        answer = console.api.client.get(f"/api/v1/{path}", params={"org_id": example.other}, **stranger)
        assert answer.status_code in (403, 422) or answer.json()["data"] == []
    console.open(f"#/rows/company_intel_briefings?org={example.other}")
    page.wait_for_load_state("networkidle")
    assert SECRET not in page.inner_text("body")
    page.get_by_text("old-harbour.example").wait_for()


def test_two_hundred_organisations_are_found_by_name(console: Console, server_dsn: str, template: str) -> None:
    with create_database(server_dsn, template) as dsn, run_api(dsn) as api:
        clients = "select 'Client ' || n, 'client-' || n from generate_series(1, 200) as n"
        api.execute(f"insert into orgs (name, slug) {clients}")
        console.api = api
        page = console.open(key=ADMIN_KEY)
        expect(page.locator("tbody tr")).to_have_count(20)
        page.get_by_label("Find an organisation").fill("client 17")
        expect(page.locator("tbody tr")).to_have_count(11)
        page.get_by_label("Organisation", exact=True).fill("client 177")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Client 177")
        expect(page.get_by_text("Nothing was found for it yet.").first).to_be_visible()
        console.open("#/rows/icp_job_titles?org=client-5")
        expect(page.get_by_text("The table has no row yet")).to_be_visible()
