"""Why: from a domain or a name to what is known of it."""

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Console
from tests.console.example import SECRET


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        ("https://www.Northwind-Robotics.example/about", "has rows"),
        ("nobody-ever.example", "was never asked for"),
        ("Lumen Freight", "its research failed"),
        ("copper-lantern.example", "its run waits for a runner"),
        ("Quiet Meadow", "rejected, for the reason below"),
        ("Tidewater Labs", "its result waits for the next sweep"),
        (SECRET, "was never asked for"),
        ("100%_\\'; drop table orgs; --", "was never asked for"),
    ],
)
def test_it_says_what_is_known(console: Console, token: str, wanted: str, verdict: str) -> None:
    page = console.open("#/why", key=token)
    page.get_by_label("Domain or name").fill(wanted)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".verdict")).to_contain_text(verdict)
    assert "q=" in page.url


def test_it_leads_to_the_reason_and_to_the_row(console: Console, token: str) -> None:
    page = console.open("#/why?q=Undomained%20Ltd", key=token)
    expect(page.locator(".reason-list").first).to_contain_text("no domain at all")
    page.goto(f"{console.api.url}/console#/why?q=old-harbour.example")
    page.get_by_role("link", name="old-harbour.example").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Old Harbour Freight")


def test_a_failed_run_shows_its_error(console: Console, token: str) -> None:
    page = console.open("#/why?q=lumen-freight.example", key=token)
    expect(page.get_by_text("the provider ended the research").first).to_be_visible()


def test_older_runs_are_looked_at_when_asked_to(console: Console) -> None:
    org = console.api.insert_organisation()
    console.api.execute(
        "with submission as (insert into submissions (org_id, input_payload, status) values (%s, '{}', 'completed')"
        " returning id, org_id)"
        " insert into pipeline_runs (org_id, submission_id, status, created_at, blueprint_snapshot)"
        " select org_id, id, 'succeeded', timestamptz '2026-01-01' - n * interval '1 second', jsonb_build_object("
        " 'entity', jsonb_build_object('input', jsonb_build_object('company_domain', 'c' || n || '.example')))"
        " from submission, generate_series(1, 5001) as n",
        (org,),
    )
    page = console.open("#/why?q=c5001.example", key=console.api.insert_token(org))
    expect(page.locator(".verdict")).to_contain_text("was not asked for lately")
    page.get_by_role("button", name="Look at older runs").click()
    expect(page.get_by_text("c5001.example").last).to_be_visible()
    expect(page.get_by_role("button", name="Look at older runs")).to_have_count(0)
