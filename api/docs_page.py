"""`/openapi.json` and `/docs`: Swagger UI, from files that are installed with the API and not from other hosts."""

from __future__ import annotations

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>data-engine-x: the HTTP API</title>
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START: Final = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
)


def build_docs_routes() -> list[BaseRoute]:
    """Return the routes of the document, and of the page with its script and Swagger UI's files (`fastapi_offline`)."""
    return [
        Route("/openapi.json", _answer_document),
        Route("/docs", _answer_page),
        Route("/docs/start.js", _answer_start),
        Mount("/docs/files", StaticFiles(packages=[("fastapi_offline", "static")])),
    ]


async def _answer_document(request: Request) -> Response:
    """Return FastAPI's document, built once and in a thread, since with many specs that takes seconds."""
    return JSONResponse(await run_in_threadpool(request.app.openapi))


async def _answer_page(request: Request) -> Response:
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


async def _answer_start(request: Request) -> Response:
    return Response(_START, media_type="text/javascript")
