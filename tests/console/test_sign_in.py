"""Who gets in, with what, and what stays of it."""

from playwright.sync_api import Page, expect

from tests.api.loopback import ADMIN_KEY
from tests.console.conftest import Console
from tests.console.example import Example


def test_a_token_signs_in_and_stays_in_its_tab(console: Console, token: str) -> None:
    page = console.open()
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Assurance")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Assurance")
    other_tab = console.context.new_page()
    other_tab.goto(f"{console.api.url}/console")
    expect(other_tab.get_by_label("API token")).to_be_visible()
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API token")).to_be_visible()
    assert page.evaluate("JSON.stringify(sessionStorage)") == "{}"


def test_a_wrong_key_is_told_what_to_do(console: Console) -> None:
    page = console.open()
    page.get_by_label("API token").fill("dex_not_a_token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid API token. check that the whole token was sent")
    assert page.evaluate("JSON.stringify(sessionStorage)") == "{}"


def test_a_token_that_was_revoked_meanwhile_leads_to_the_sign_in(console: Console, example: Example) -> None:
    def reload(page: Page) -> None:
        page.reload()

    def go_on(page: Page) -> None:
        page.evaluate("location.hash = '#/costs'")

    page = console.open()
    for notice in (reload, go_on):
        page.get_by_label("API token").fill(console.api.insert_token(example.demo))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Assurance")
        page.reload(wait_until="networkidle")  # or what the page still asks for would be refused, and notice it first
        revoke = "update api_tokens set revoked_at = now() where org_id = %s and role = 'member'"
        console.api.execute(revoke, (example.demo,))
        notice(page)
        expect(page.get_by_text("API token has been revoked. Sign in again.")).to_be_visible()
        expect(page.get_by_label("API token")).to_be_visible()


def test_the_address_that_the_development_server_prints_signs_in(console: Console) -> None:
    page = console.open(f"#key={ADMIN_KEY.replace(' ', '%20')}")
    expect(page.get_by_role("heading", level=1)).to_have_text("All organisations")
    assert "key=" not in page.url
