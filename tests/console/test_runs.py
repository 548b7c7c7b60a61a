"""Runs and costs: what was asked for, what it cost, and what became of it."""

import psycopg
from playwright.sync_api import expect

from tests.api.loopback import ADMIN_KEY, bearer_headers
from tests.console.conftest import Console
from tests.console.example import BRIEFING, Example
from tests.world import insert_run, insert_step, insert_submission


def test_runs_are_listed_with_their_steps_orders_and_rows(console: Console, token: str) -> None:
    page = console.open("#/runs", key=token)
    runs = console.api.client.get("/api/v1/runs?limit=25", headers=bearer_headers(token)).json()["data"]
    cards = page.locator("article.run")
    expect(cards).to_have_count(len(runs))
    for index, run in enumerate(runs):
        expect(cards.nth(index).locator("ol.steps > li")).to_have_count(len(run["steps"]))
        expect(cards.nth(index).locator(".status").first).to_have_text(run["status"])
    done = page.locator("article.run", has_text="Northwind Robotics").filter(has_text="parallel ultra").first
    done.get_by_role("link", name="the row of Company intel briefing").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Northwind Robotics")


def test_they_are_chosen_by_state(console: Console, token: str) -> None:
    page = console.open("#/runs", key=token)
    page.get_by_role("navigation", name="States").get_by_role("link", name="Failed").click()
    expect(page.locator("article.run")).to_have_count(1)
    expect(page.locator("article.run")).to_contain_text("Lumen Freight")
    expect(page.locator("article.run .message-line").first).to_contain_text("not enough public sources")


def test_a_step_result_can_be_read(console: Console, token: str) -> None:
    page = console.open("#/why?q=Undomained%20Ltd", key=token)
    page.get_by_role("link", name="company.derive.intel_briefing").first.click()
    expect(page.get_by_role("heading", level=2, name="What it found")).to_be_visible()
    expect(page.get_by_text("no domain at all").first).to_be_visible()


def test_costs_are_those_of_the_endpoint(console: Console, token: str) -> None:
    page = console.open("#/costs", key=token)
    costs = console.api.client.get("/api/v1/costs", headers=bearer_headers(token)).json()["data"]
    assert costs
    rows = page.get_by_role("region", name="Costs by month and operation").locator("tbody tr")
    expect(rows).to_have_count(len(costs))
    for index, cost in enumerate(costs):
        whole, _, decimals = cost["cost"].partition(".")
        shown = f"${int(whole):,}.{decimals.rstrip('0').ljust(2, '0')}"
        expect(rows.nth(index)).to_contain_text(cost["operation"])
        expect(rows.nth(index).locator("td").last).to_have_text(shown)
    orders = console.api.client.get("/api/v1/orders", headers=bearer_headers(token)).json()["data"]
    expect(page.get_by_role("region", name="Orders").locator("tbody tr")).to_have_count(len(orders))


def test_a_super_admin_sees_the_costs_of_the_organisation_it_chooses(console: Console, example: Example) -> None:
    page = console.open("#/costs", key=ADMIN_KEY)
    expect(page.get_by_role("heading", level=1)).to_have_text("Whose?")
    page.get_by_role("list").get_by_role("link", name="Globex").click()
    expect(page.get_by_text("Nothing was bought yet")).to_be_visible()
    page.get_by_label("Organisation", exact=True).select_option("Harbor Assurance")
    expect(page.get_by_role("region", name="Orders")).to_be_visible()
    asked = {"params": {"org_id": example.demo}, "headers": bearer_headers(ADMIN_KEY)}
    orders = console.api.client.get("/api/v1/orders", **asked).json()["data"]
    expect(page.get_by_role("region", name="Orders").locator("tbody tr")).to_have_count(len(orders))


def test_a_number_opens_the_step_results_behind_it(console: Console, token: str) -> None:
    page = console.open(key=token)
    card = page.locator("section[aria-labelledby=spec-company_intel_briefings]")
    card.get_by_role("link", name="rejected", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.go_back()
    card.locator("table.reasons a").first.click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Step result")


def insert_waiting_submission(console: Console) -> tuple[str, str]:
    """Insert a submission of an organisation of its own, with one queued run; return both ids."""
    org = console.api.insert_organisation()
    with psycopg.connect(console.api.dsn, autocommit=True) as connection:
        submission = insert_submission(connection, org, status="queued")
        steps = [{"position": 1, "operation_id": BRIEFING, "step_config": {}, "is_enabled": True}]
        run = insert_run(connection, org, submission, status="queued", steps=steps)
        insert_step(connection, run, status="queued")
    return org, submission


def test_who_may_spend_cancels_and_retries(console: Console) -> None:
    org, submission = insert_waiting_submission(console)
    page = console.open(f"#/runs/{submission}", key=console.api.insert_token(org, role="org_admin"))
    status = page.locator("article.run .status").first
    expect(status).to_have_text("queued")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="No").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes, cancel them").click()
    expect(status).to_have_text("canceled")
    select = "select status::text from pipeline_runs where submission_id = %s"
    assert console.api.fetch_value(select, (submission,)) == "canceled"
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Yes, retry them").click()
    expect(status).to_have_text("queued")


def test_a_member_is_not_offered_what_costs(console: Console) -> None:
    org, submission = insert_waiting_submission(console)
    page = console.open(f"#/runs/{submission}", key=console.api.insert_token(org, role="member"))
    expect(page.locator("article.run")).to_have_count(1)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_anothers_submission_is_not_there(console: Console, example: Example, token: str) -> None:
    page = console.open(f"#/runs/{example.other_submission}", key=token)
    expect(page.get_by_text("There is no such submission")).to_be_visible()
