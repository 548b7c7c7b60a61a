"""Slow, broken and late answers, and a key that changes under a page."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.loopback import ADMIN_KEY
from tests.console.conftest import Console
from tests.console.example import Example

#: Bytes a second: an export takes longer than it takes to break it off.
SLOW = 500_000


@contextmanager
def hold_requests(page: Page, pattern: str) -> Iterator[list[Route]]:
    """Leave requests without a response; yield them as they come."""
    held: list[Route] = []
    page.route(pattern, lambda route: held.append(route))
    yield held
    page.unroute(pattern)


def test_a_link_with_a_key_works_in_a_tab_that_is_open(console: Console, token: str) -> None:
    page = console.open("#/costs", key=token)
    page.evaluate(f"location.hash = '#key={ADMIN_KEY.replace(' ', '%20')}'")
    expect(page.get_by_role("heading", level=1)).to_have_text("All organisations")
    assert "key=" not in page.url
    page.get_by_role("button", name="Sign out").click()
    page.evaluate("location.hash = '#key=%'")  # no correct percent-encoding
    expect(page.get_by_text("Invalid API token. Sign in again.")).to_be_visible()
    assert "key=" not in page.url


def test_a_late_answer_to_the_key_before_ends_no_session(console: Console, token: str) -> None:
    page = console.open("#/rows/icp_job_titles", key=token)
    page.locator("summary", has_text="Export").click()
    with hold_requests(page, "**/export") as held:
        with page.expect_request("**/export"):
            page.get_by_role("button", name="CSV").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("API token").fill(ADMIN_KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Whose?")
        refused = {"error": "API token has been revoked", "code": "revoked_token", "detail": [], "hint": "make one"}
        with page.expect_response("**/export"):
            held[0].fulfill(status=401, json=refused)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("All organisations")
    expect(page.get_by_role("link", name="Globex").first).to_be_visible()


@pytest.mark.parametrize(("address", "shown"), [("runs", "article, section.run"), ("costs", "table tbody tr")])
def test_nothing_of_another_organisation_stays_while_its_own_is_asked_for(
    console: Console, example: Example, address: str, shown: str
) -> None:
    page = console.open(f"#/{address}?org={example.demo}", key=ADMIN_KEY)
    expect(page.locator("main").locator(shown).first).to_be_visible()
    with hold_requests(page, "**/api/v1/**") as held:
        page.get_by_label("Organisation", exact=True).select_option("Globex")
        expect(page.get_by_role("status").first).to_contain_text("…")
        expect(page.locator("main").locator(shown)).to_have_count(0)
        assert all(f"org_id={example.other}" in route.request.url for route in held)


def test_an_export_that_breaks_off_is_no_file(console: Console) -> None:
    org = console.api.insert_organisation()
    console.api.execute(
        "insert into icp_job_titles (org_id, company_domain, raw_parallel_output)"
        " select %s, number || '.example', (select to_jsonb(string_agg(md5(number::text || part), ''))"
        " from generate_series(1, 10000) as part) from generate_series(1, 60) as number",
        [org],
    )
    console.page.route("**/query", lambda route: None)  # the page itself need not draw 19 MB
    page = console.open("#/rows/icp_job_titles?fields=raw_parallel_output", key=console.api.insert_token(org))
    page.locator("summary", has_text="Export").click()
    network = console.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "uploadThroughput": -1}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {**limits, "downloadThroughput": SLOW})
    downloads: list[object] = []
    page.on("download", lambda download: downloads.append(download))
    with page.expect_response("**/export"):
        page.get_by_role("button", name="NDJSON").click()
    end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike %s"
    assert console.api.execute(f"{end} and pid <> pg_backend_pid()", ["%copy (%"]) == [(True,)]
    network.send("Network.emulateNetworkConditions", {**limits, "downloadThroughput": -1})
    expect(page.get_by_text("The API's answer broke off before its end. Check that it runs")).to_be_visible()
    assert downloads == []


def test_an_api_that_never_answers_is_given_up_and_asked_again(console: Console, token: str) -> None:
    page = console.open("", key=token)
    page.clock.install()
    with hold_requests(page, "**/api/v1/**"):
        with page.expect_request("**/api/v1/costs*"):
            page.get_by_role("navigation", name="Pages").get_by_role("link", name="Costs").click()
        page.clock.fast_forward("01:31")
        expect(page.get_by_text("The API did not answer within 90 seconds.").first).to_be_visible()
    page.get_by_role("button", name="Try again").first.click()
    expect(page.locator("table tbody tr").first).to_be_visible()
