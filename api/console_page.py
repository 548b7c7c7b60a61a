"""`/console`: the web console, served from the files that `make setup` builds from `api/console/`.

The page loads nothing from other hosts, and addresses scripts and endpoints relative to its own URL, so that it works
below any path prefix of a proxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

#: Vite's output: `index.html`, and below `console/` the files that it loads, named by a hash of their content.
BUILT: Final = Path(__file__).parent / "console" / "dist"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'"
)
_PAGE_HEADERS: Final = {"content-security-policy": POLICY, "cache-control": "no-cache"}
_FILE_HEADERS: Final = {"cache-control": "public, max-age=31536000, immutable"}
_NOT_BUILT: Final = "The console is not built: run `make setup`, then load this page again.\n"


def build_console_routes() -> list[BaseRoute]:
    """Return the routes of the page and of the files it loads; `/`, which has nothing of its own, leads to it."""
    return [
        Route("/", _lead_to_page),
        Route("/console", _answer_page),
        Route("/console/", _redirect_to_page),
        Mount("/console", _BuiltFiles(directory=BUILT / "console", check_dir=False)),
    ]


async def _answer_page(request: Request) -> Response:
    page = BUILT / "index.html"
    if not page.is_file():
        return PlainTextResponse(_NOT_BUILT, status_code=503)
    return Response(page.read_bytes(), media_type="text/html", headers=_PAGE_HEADERS)


async def _lead_to_page(request: Request) -> Response:
    """Redirect to the page by an address relative to this one, as a proxy may add a prefix to both."""
    return RedirectResponse("console")


async def _redirect_to_page(request: Request) -> Response:
    """Redirect to the URL without a trailing slash, on which the page's relative links are based."""
    return RedirectResponse("../console")


class _BuiltFiles(StaticFiles):
    """Static files with a hash in their name, which never change: browsers may cache them forever."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type]
        response.headers.update(_FILE_HEADERS)
        return response
