"""The application, put together.

In: settings and plans. Out: a FastAPI app. It must not know what any endpoint does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api import health, openapi, routes, runs, submissions, telemetry
from api.context import Context
from api.endpoint import Endpoint
from api.fault import answer_framework
from api.meters import Meters
from api.settings import Settings
from engine import project
from engine.plan import Plan
from engine.store.connect import pool

TITLE = "data-engine-x"
TEXT = (
    "Research turned into rows: for each spec an endpoint that writes and one that asks. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)


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
    app = FastAPI(
        title=TITLE,
        version=version(),
        lifespan=_lifespan(context),
        exception_handlers={HTTPException: answer_framework},
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.routes.extend(endpoint.route() for endpoint in listed)
    app.add_middleware(telemetry.Telemetry, meters=context.meters)
    document = openapi.document(TITLE, version(), TEXT, listed)
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


def endpoints(context: Context) -> list[Endpoint]:
    """Return every endpoint, those of plans first: the router looks at them in this order."""
    return [
        *(endpoint for plan in context.plans for endpoint in routes.endpoints(context, plan)),
        *runs.endpoints(context),
        *submissions.endpoints(context),
        *health.endpoints(context),
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
