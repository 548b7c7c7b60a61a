"""The console in a real browser, over the real API and the example's data."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.api.loopback import Api, run_api
from tests.conftest import create_database, make_template
from tests.console.chromium import open_browser
from tests.console.example import Example, build_example, find_example
from tests.runner.test_demo import DEMO, run_demo

#: What anything here may take at most: other tests may use the machine as well.
MILLISECONDS = 20_000
expect.set_options(timeout=MILLISECONDS)


@dataclass
class Console:
    """A tab of the console, and what it asked for and complained of."""

    api: Api
    context: BrowserContext
    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def open(self, address: str = "", *, key: str | None = None) -> Page:
        """Open an address of the console, signed in with a key where one is given."""
        if key is not None:
            self.context.add_init_script(f"sessionStorage['dex.key'] ??= '{key}'")
        self.page.goto(f"{self.api.url}/console{address}")
        self.page.locator("h1").wait_for()
        return self.page

    def record_complaint(self, message: ConsoleMessage) -> None:
        # That an answer was no success is what some tests are about; what the browser refuses to do is not.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one file: while it runs, its event loop is the thread's."""
    with open_browser() as running:
        yield running


@pytest.fixture(scope="session")
def served(server_dsn: str, template: str) -> Iterator[tuple[Api, Example]]:
    make_template(server_dsn, DEMO, template, run_demo)
    make_template(server_dsn, "template_console", DEMO, build_example)
    with create_database(server_dsn, "template_console") as dsn:
        # In a thread of its own: this one may have the browser's event loop.
        with ThreadPoolExecutor(1) as thread:
            example = thread.submit(find_example, dsn).result()
        with run_api(dsn) as api:
            yield api, example


@pytest.fixture
def example(served: tuple[Api, Example]) -> Example:
    return served[1]


@pytest.fixture
def token(served: tuple[Api, Example]) -> str:
    """A token of the demo's organisation."""
    api, example = served
    return api.insert_token(example.demo, role="org_admin")


@pytest.fixture
def console(browser: Browser, served: tuple[Api, Example]) -> Iterator[Console]:
    """A tab of its own. Afterwards: no other host was asked, and the browser had nothing to complain of."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="Europe/Berlin", locale="en-GB")
    context.set_default_timeout(MILLISECONDS)
    tab = Console(served[0], context, context.new_page())
    context.on("request", lambda request: tab.hosts.add(urlsplit(request.url).netloc))
    tab.page.on("console", tab.record_complaint)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    yield tab
    context.close()
    assert tab.hosts <= {urlsplit(tab.api.url).netloc, ""}, "another host was asked"
    assert tab.complaints == []
