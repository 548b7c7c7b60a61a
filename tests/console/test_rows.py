"""Rows: a query that the address contains, its pages and its export."""

import csv
import io
import json
from pathlib import Path

from playwright.sync_api import expect

from tests.api.loopback import bearer_headers
from tests.console.conftest import Console

PAGE = "#/rows/company_intel_briefings"


def test_the_address_contains_the_query(console: Console, token: str) -> None:
    page = console.open(PAGE, key=token)
    expect(page.locator("table.rows tbody tr")).to_have_count(3)
    expect(page.locator(".count")).to_have_text("3 rows")
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_label("Comparison of filter 1").select_option("begins with")
    page.get_by_label("Value of filter 1").fill("blue")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    expect(page.locator(".count")).to_have_text("1 row match")
    page.get_by_role("button", name="Company domain").click()
    page.wait_for_url("**order=company_domain**")
    asked = page.url
    assert "company_domain.prefix=blue" in asked
    other = console.context.new_page()
    other.goto(f"{console.api.url}/console")
    other.evaluate("key => sessionStorage.setItem('dex.key', key)", token)
    other.goto(asked)
    other.reload()
    expect(other.get_by_role("link", name="bluepeak-analytics.example")).to_be_visible()
    expect(other.get_by_label("Value of filter 1")).to_have_value("blue")
    expect(other.get_by_role("columnheader", name="Company domain")).to_have_attribute("aria-sort", "ascending")


def test_it_says_what_is_wrong_with_a_query(console: Console, token: str) -> None:
    page = console.open(f"{PAGE}?created_at.gt=tomorrow", key=token)
    answer = console.api.post(
        "/api/v1/company-intel-briefings/query", {"created_at": {"gt": "tomorrow"}}, headers=bearer_headers(token)
    )
    expect(page.get_by_role("alert")).to_contain_text(answer.json()["error"].replace("`", ""))


def test_no_row_is_said_in_words(console: Console, token: str) -> None:
    page = console.open(f"{PAGE}?company_domain=nobody.example", key=token)
    expect(page.get_by_text("No row matches")).to_be_visible()


def test_columns_are_chosen_and_exported(console: Console, token: str) -> None:
    page = console.open(PAGE, key=token)
    page.locator("summary", has_text="Columns").click()
    page.get_by_label("Processor").uncheck()
    expect(page.get_by_role("columnheader", name="Processor")).to_have_count(0)
    assert "fields=" in page.url
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    exported = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert {row["company_domain"] for row in exported} == {
        "old-harbour.example",
        "bluepeak-analytics.example",
        "northwind-robotics.example",
    }
    assert "processor" not in exported[0]


def test_many_rows_come_in_pages(console: Console, served: object) -> None:
    org = console.api.insert_organisation()
    console.api.execute(
        "insert into icp_job_titles (org_id, company_domain, raw_parallel_output)"
        " select %s, 'company-' || lpad(n::text, 4, '0') || '.example', '{}' from generate_series(1, 120) as n",
        (org,),
    )
    page = console.open("#/rows/icp_job_titles?order=company_domain", key=console.api.insert_token(org))
    expect(page.locator(".count")).to_have_text("120 rows")
    expect(page.locator("table.rows tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="company-0051.example")).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(20)
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("link", name="company-0051.example")).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(page.get_by_role("link", name="company-0001.example")).to_be_visible()


def test_markup_in_data_is_text(console: Console) -> None:
    org = console.api.insert_organisation()
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    console.api.execute(
        "insert into icp_job_titles (org_id, company_domain, company_name, company_description, raw_parallel_output)"
        " values (%s, 'evil.example', %s, 'javascript:alert(1)', %s)",
        (org, evil, json.dumps({"a": evil, "link": "javascript:alert(1)", "good": "https://example.com/x"})),
    )
    page = console.open("#/rows/icp_job_titles", key=console.api.insert_token(org))
    expect(page.get_by_text(evil)).to_be_visible()
    assert page.locator("main img, main script, main a[href^=javascript]").count() == 0
