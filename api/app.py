"""The application, put together.

In: settings and plans. Out: a FastAPI app. It must not know what any endpoint does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api import operator
from api.context import Context
from api.http import openapi, telemetry
from api.http.endpoint import Direct, Endpoint
from api.http.errors import answer_framework
from api.http.metrics import Meters
from api.rows import routes
from api.runs import routes as runs
from api.runs import submissions
from api.settings import Settings
from engine import project
from engine.plan import Plan
from engine.store.connection import pool

TITLE = "data-engine-x"
TEXT = (
    "Research turned into rows: for each spec an endpoint that writes and one that asks. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)


class App(FastAPI):
    """FastAPI with our own outermost layers: what is seen of every request, then the short way to an endpoint."""

    def __init__(self, *, endpoints: Sequence[Endpoint], meters: Meters, **options: Any) -> None:
        self._endpoints = endpoints
        self._meters = meters
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers a request passes, outermost first: Telemetry, Direct, then those of FastAPI."""
        return telemetry.Telemetry(Direct(self._endpoints, super().build_middleware_stack()), self._meters)


def create_app(settings: Settings, plans: Sequence[Plan], migrations: Path | None = None) -> FastAPI:
    """Return the API over `plans`. Without a database it starts too: alive, but not ready.

    `migrations` is the folder readiness compares the database with; by default that of the project around the working
    folder.
    """
    telemetry.configure()
    context = Context(
        settings=settings,
        plans=tuple(plans),
        pool=pool(settings.database_url, settings.pool_size),
        meters=Meters(),
        migrations=migrations or project.find().migrations,
    )
    listed = endpoints(context)
    app = App(
        endpoints=listed,
        meters=context.meters,
        title=TITLE,
        version=version(),
        lifespan=_lifespan(context),
        exception_handlers={HTTPException: answer_framework},
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.routes.extend(endpoint.route() for endpoint in listed)
    document = openapi.document(TITLE, version(), TEXT, listed)
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


def endpoints(context: Context) -> list[Endpoint]:
    """Return every endpoint, those of plans first: the router looks at them in this order."""
    return [
        *(endpoint for plan in context.plans for endpoint in routes.endpoints(context, plan)),
        *runs.endpoints(context),
        *submissions.endpoints(context),
        *operator.endpoints(context),
    ]


def version() -> str:
    """Return the installed version."""
    try:
        return metadata.version("data-engine-x")
    except metadata.PackageNotFoundError:
        return "0"


def _lifespan(context: Context):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        telemetry.warn_of_weak_secrets(context.settings)
        await context.pool.open(wait=False)
        try:
            yield
        finally:
            await context.pool.close()

    return lifespan
