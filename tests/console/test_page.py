"""The page as such: what it weighs, what it may do, below which prefix, and for whom it is usable."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page, expect

from api.console_page import BUILT
from tests.conftest import ROOT
from tests.console.conftest import Console
from tests.plain_http import HTTP

#: Bytes as transferred, all pages together.
MOST_BYTES = 300 * 1024
PREFIX = "/tools/dex"
AXE = ROOT / "api" / "console" / "node_modules" / "axe-core" / "axe.min.js"
#: name -> address behind `#`, and the link to follow there.
PAGES = {
    "overview": "/",
    "rows": "/rows/company_intel_briefings?company_domain.prefix=north",
    "row": "/why?q=northwind-robotics.example > a[href*='/rows/company_intel_briefings/']",
    "why": "/why?q=Undomained",
    "specs": "/specs",
    "spec": "/specs/company_intel_briefings",
    "runs": "/runs",
    "steps": "/steps?spec=company_intel_briefings&outcome=rejected",
    "step": "/steps?spec=company_intel_briefings&outcome=rejected > tbody a",
    "costs": "/costs",
}


def test_all_of_it_is_small_and_kept_by_the_browser(console: Console) -> None:
    page = console.api.client.get("/console")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    transferred = len(page.content)
    for file in (BUILT / "console").iterdir():
        with console.api.client.stream("GET", f"/console/{file.name}", headers={"accept-encoding": "gzip"}) as answer:
            assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
            transferred += sum(map(len, answer.iter_raw()))
    assert transferred < MOST_BYTES


def test_the_browser_is_told_what_the_page_may_do(console: Console) -> None:
    headers = console.api.client.get("/console").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    slash = console.api.client.get("/console/", follow_redirects=True)
    assert slash.url.path == "/console" and slash.status_code == 200
    root = console.api.client.get("/", follow_redirects=True)
    assert root.url.path == "/console" and root.status_code == 200
    assert console.api.client.get("/console/nothing.js").status_code == 404
    assert console.api.client.get("/console/../index.html").status_code == 404


@pytest.mark.parametrize("name", PAGES)
def test_it_is_usable_for_everybody(console: Console, token: str, name: str) -> None:
    """In light and in dark."""
    console.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page = open_page(console, token, name)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert list_violations(page) == []
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert list_violations(page) == []


def list_violations(page: Page) -> list[str]:
    """Return what axe, which the page has loaded, finds serious."""
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_a_phone(console: Console, token: str, name: str) -> None:
    console.page.set_viewport_size({"width": 360, "height": 740})
    page = open_page(console, token, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    # A column's name may have 59 characters.
    page.evaluate("for (const name of document.querySelectorAll('dl.columns dt')) name.textContent = 'x'.repeat(59)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_is_enough(console: Console, token: str) -> None:
    page = console.open(key=token)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    rows = page.get_by_role("navigation", name="Pages").get_by_role("link", name="Rows")
    rows.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Company intel briefing")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("button", name="Company domain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Company domain")).to_have_attribute("aria-sort", "ascending")


def test_it_works_below_a_path_prefix(console: Console, token: str) -> None:
    with serve_below_prefix(console.api.url) as url:
        console.hosts.clear()
        page = console.page
        page.goto(f"{url}{PREFIX}/console")
        page.get_by_label("API token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Harbor Assurance")
        page.get_by_role("link", name="Rows of Company intel briefing").click()
        expect(page.get_by_role("link", name="old-harbour.example")).to_be_visible()
        assert console.hosts == {httpx.URL(url).netloc.decode()}
        console.hosts.clear()


def test_an_api_that_stops_answering_is_said_and_tried_again(console: Console, token: str) -> None:
    page = console.open(key=token)
    page.route("**/api/v1/**", lambda route: route.abort())
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Rows").click()
    expect(page.get_by_role("alert").first).to_contain_text("The API does not answer.")
    page.unroute("**/api/v1/**")
    page.get_by_role("button", name="Try again").first.click()
    expect(page.get_by_role("link", name="old-harbour.example")).to_be_visible()


def test_an_unknown_address_leads_on(console: Console, token: str) -> None:
    page = console.open("#/nowhere", key=token)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


def test_a_page_of_someone_else_in_place_of_the_api_is_told_from_a_mistake_of_ours(
    console: Console, token: str
) -> None:
    page = console.open(key=token)
    page.route("**/api/v1/**", lambda route: route.fulfill(body="<html>Sign in to this network</html>"))
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Costs").click()
    expect(page.get_by_role("alert").first).to_contain_text("Something else answered in place of the API.")


def test_the_rows_of_no_spec_in_particular_can_be_opened_directly(console: Console, token: str) -> None:
    page = console.open("#/rows", key=token)
    expect(page).to_have_url(re.compile("#/rows/company_intel_briefings$"))


def open_page(console: Console, token: str, name: str) -> Page:
    """Open a page by its name, and wait until it has all that it asks for."""
    address, _, link = PAGES[name].partition(" > ")
    page = console.open(f"#{address}", key=token)
    page.wait_for_load_state("networkidle")
    if link:
        page.locator(f"main {link}").first.click()
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


@contextmanager
def serve_below_prefix(target: str) -> Iterator[str]:
    """Pass what comes below a path prefix on to an API, without the prefix, as a reverse proxy does."""

    class Proxy(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            assert self.path.startswith(PREFIX), self.path
            length = int(self.headers.get("content-length") or 0)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
            answer = HTTP.request(
                self.command,
                target + self.path.removeprefix(PREFIX),
                headers=headers,
                content=self.rfile.read(length),
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("content-length", "content-encoding", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = pass_on  # noqa: N815 - names that http.server asks for

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
