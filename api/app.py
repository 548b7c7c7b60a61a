"""Create the FastAPI app from settings and plans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.context import Context
from api.http import openapi, telemetry
from api.http.endpoint import Endpoint, ExactPathMiddleware
from api.http.errors import answer_framework_error
from api.http.metrics import Metrics
from api.operator import OPERATOR_ENDPOINTS
from api.rows.routes import build_endpoints
from api.runs.routes import RUN_ENDPOINTS
from api.runs.submissions import SUBMISSION_ENDPOINTS
from api.settings import Settings
from engine import project
from engine.plan import Plan
from engine.store.connection import build_pool

TITLE = "data-engine-x"
DESCRIPTION = (
    "Research turned into rows: for each spec an endpoint that writes and one that asks. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)


class App(FastAPI):
    """FastAPI with Telemetry and the short way to an endpoint as its outermost layers."""

    def __init__(self, *, endpoints: Sequence[Endpoint], context: Context, **options: Any) -> None:
        self._endpoints = endpoints
        self._context = context
        super().__init__(**options)
        self.router.routes.extend(endpoint.build_route(context) for endpoint in endpoints)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers a request passes, outermost first: Telemetry, ExactPathMiddleware, those of FastAPI."""
        direct = ExactPathMiddleware(super().build_middleware_stack(), self._endpoints, self._context)
        return telemetry.Telemetry(direct, self._context.metrics)


def create_app(settings: Settings, plans: Sequence[Plan], migrations: Path | None = None) -> FastAPI:
    """Return the API over `plans`. It starts without a database too: alive, but not ready.

    Readiness compares the database with the folder `migrations`; by default that of the project around the working
    folder.
    """
    telemetry.configure_logging()
    context = Context(
        settings=settings,
        plans=tuple(plans),
        pool=build_pool(settings.database_url, settings.pool_size),
        metrics=Metrics(),
        migrations=migrations or project.find_project().migrations,
    )
    endpoints = list_endpoints(plans)
    app = App(
        endpoints=endpoints,
        context=context,
        title=TITLE,
        version=find_version(),
        lifespan=_build_lifespan(context),
        exception_handlers={HTTPException: answer_framework_error},
        redoc_url=None,
        redirect_slashes=False,
    )
    document = openapi.build_document(TITLE, find_version(), DESCRIPTION, endpoints)
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


def list_endpoints(plans: Sequence[Plan]) -> list[Endpoint]:
    """Return every endpoint, those of plans first: the router tries them in this order."""
    return [
        *(endpoint for plan in plans for endpoint in build_endpoints(plan)),
        *RUN_ENDPOINTS,
        *SUBMISSION_ENDPOINTS,
        *OPERATOR_ENDPOINTS,
    ]


def find_version() -> str:
    """Return the installed version, or "0" where the package is not installed."""
    try:
        return metadata.version("data-engine-x")
    except metadata.PackageNotFoundError:
        return "0"


def _build_lifespan(context: Context) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        telemetry.warn_of_weak_secrets(context.settings)
        await context.pool.open(wait=False)
        try:
            yield
        finally:
            await context.pool.close()

    return lifespan
