"""Draw the pages of the console for the documentation: `make screenshots` writes docs/images/console-*.png."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect

from engine.embedded_postgres import run_server
from tests.api.loopback import Api, run_api
from tests.conftest import ROOT, migrate_template
from tests.console.chromium import open_browser
from tests.console.example import Example, build_example
from tests.runner.test_demo import run_demo

IMAGES = ROOT / "docs" / "images"
#: Pixels of a window.
SIZE = {"width": 1120, "height": 760}
PHONE = {"width": 390, "height": 760}


def main() -> None:
    """Draw every page in light, one in dark and one as on a phone."""
    IMAGES.mkdir(exist_ok=True)
    with open_example() as (api, example), open_browser() as browser:
        token = api.insert_token(example.demo, role="org_admin")
        for name, address in list_pages(api, example).items():
            draw_page(browser, api, token, name, address)
        row = list_pages(api, example)["row"]
        draw_page(browser, api, token, "row-dark", row, color_scheme="dark")
        draw_page(browser, api, token, "overview-phone", "/", viewport=PHONE)
        draw_page(browser, api, None, "sign-in", "/")


@contextmanager
def open_example() -> Iterator[tuple[Api, Example]]:
    """Serve the example over a database of its own, which goes afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dex-screenshots-"))
    folder.chmod(0o755)  # root runs a server as an unprivileged user
    with run_server(folder, durable=False, temporary=True) as dsn:
        asyncio.run(migrate_template(dsn))
        run_demo(dsn)
        example = build_example(dsn)
        with run_api(dsn) as api:
            yield api, example


def list_pages(api: Api, example: Example) -> dict[str, str]:
    """Return the address behind `#` of each page by its name."""
    find_row = (
        "select id from company_intel_briefings where org_id = %s and company_domain = 'northwind-robotics.example'"
    )
    row = api.fetch_value(find_row, (example.demo,))
    return {
        "overview": "/",
        "rows": "/rows/company_intel_briefings?order=company_domain",
        "row": f"/rows/company_intel_briefings/{row}",
        "why": "/why?q=Lumen%20Freight",
        "spec": "/specs/company_intel_briefings",
        "runs": "/runs",
        "costs": "/costs",
    }


def draw_page(browser: Browser, api: Api, token: str | None, name: str, address: str, **options: object) -> None:
    """Save one page as docs/images/console-<name>.png."""
    settings = {"viewport": SIZE, "color_scheme": "light", "timezone_id": "UTC", "locale": "en-GB", **options}
    context = browser.new_context(**settings)  # type: ignore[arg-type]
    if token is not None:
        context.add_init_script(f"sessionStorage['dex.key'] = '{token}'")
    page = context.new_page()
    page.goto(f"{api.url}/console#{address}")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".loading")).to_have_count(0, timeout=20_000)
    expect(page.locator(".failed")).to_have_count(0)
    page.screenshot(path=IMAGES / f"console-{name}.png")
    context.close()


if __name__ == "__main__":
    main()
