"""Create the FastAPI app from settings and plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from api.accounts import ACCOUNT_ENDPOINTS
from api.callers import CALLER_ENDPOINTS
from api.console_page import build_console_routes
from api.context import Context
from api.docs_page import build_docs_routes
from api.figures import DatabaseFigures
from api.http import openapi, telemetry
from api.http.disconnect import CancelOnDisconnect
from api.http.endpoint import Endpoint, ExactPathMiddleware
from api.http.errors import answer_framework_error
from api.http.exchange import wrap_exchange
from api.http.metrics import Metrics
from api.http.rate import TokenBuckets
from api.http.rate_limit import RateLimit
from api.http.security_headers import SecurityHeaders
from api.http.traces import build_traces
from api.mcp.routes import MCP_ENDPOINT
from api.mcp.server import open_http_server
from api.operator import OPERATOR_ENDPOINTS, PROCESS_ENDPOINTS
from api.readiness import Readiness
from api.rows.routes import build_endpoints
from api.runs.dispatch import sweep_runs_forever
from api.runs.order_lists import ORDER_LIST_ENDPOINTS
from api.runs.orders import ORDER_ENDPOINTS
from api.runs.routes import RUN_ENDPOINTS
from api.runs.run_list import RUN_LIST_ENDPOINTS
from api.runs.submissions import SUBMISSION_ENDPOINTS
from api.server import serve_operator
from api.settings import Settings
from api.specs import SPEC_ENDPOINTS
from api.sweep import answer_reconcile, sweep_forever
from api.token_use import TokenUse
from engine import project
from engine.backfill.versions import register_first_versions
from engine.orders.budgets import count_unbounded_organisations
from engine.orders.prices import load_prices
from engine.plan import Plan
from engine.store.connection import StatementBounds, build_pool
from engine.store.errors import StoreError, wrap_errors

log = structlog.get_logger("api")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

TITLE = "data-engine-x"
DESCRIPTION = (
    "Research turned into rows: for each spec an endpoint that writes and one that asks. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)


#: Seconds a statement may take at the server, whatever became of the process that sent it; a request ends earlier.
LONGEST_STATEMENT = 60.0
#: Seconds that readiness, and the note of a token's use, wait for a lock.
OPERATOR_LOCK_SECONDS = 0.25
#: Seconds between two looks at the database.
EXAMINE_INTERVAL = 30.0
#: Seconds in which an address may use up what it saved by sending less than its rate.
BURST_SECONDS = 4


class App(FastAPI):
    """FastAPI with our layers and the short way to an endpoint outside of its own."""

    def __init__(self, *, endpoints: Sequence[Endpoint], context: Context, **options: Any) -> None:
        self._endpoints = endpoints
        self._context = context
        super().__init__(**options)
        self.router.routes.extend(endpoint.build_route(context) for endpoint in endpoints)
        #: The endpoints without the bounds of a client: what answers agents asks them in this process.
        self.inner = telemetry.Telemetry(self.router, context.metrics, context.traces)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers a request passes, outermost first, down to those of FastAPI."""
        direct = ExactPathMiddleware(super().build_middleware_stack(), self._endpoints, self._context)
        limited = RateLimit(wrap_exchange(direct, self._context.settings.cors_origins), self._context)
        measured = telemetry.Telemetry(limited, self._context.metrics, self._context.traces)
        return CancelOnDisconnect(SecurityHeaders(measured))


def create_app(settings: Settings, plans: Sequence[Plan], migrations: Path | None = None) -> FastAPI:
    """Return the API over `plans`. It starts without a database too: alive, but not ready.

    Readiness compares the database with the folder `migrations`; by default that of the project around the working
    folder.
    """
    telemetry.configure_logging()
    context = _build_context(settings, tuple(plans), migrations or project.find_project().migrations)
    endpoints = [*list_endpoints(plans)]
    document = openapi.build_document(TITLE, find_version(), DESCRIPTION, endpoints)
    if settings.operator_address is None:
        app = _build_app(context, [*endpoints, MCP_ENDPOINT], document, _build_lifespan(context))
    else:
        served = [*(endpoint for endpoint in endpoints if endpoint not in PROCESS_ENDPOINTS), MCP_ENDPOINT]
        operator_app = _build_app(context, PROCESS_ENDPOINTS, document)
        app = _build_app(context, served, None, _build_lifespan(context, operator_app))
    app.router.routes.extend(build_console_routes())
    return app


def _build_context(settings: Settings, plans: tuple[Plan, ...], migrations: Path) -> Context:
    limits = settings.limits
    bounds = StatementBounds(statement=LONGEST_STATEMENT, lock=limits.lock_seconds, idle_transaction=LONGEST_STATEMENT)
    operator_pool = build_pool(settings.database_url, 2, replace(bounds, lock=OPERATOR_LOCK_SECONDS))
    pool = build_pool(settings.database_url, settings.pool_size, bounds)
    metrics = Metrics(find_version())
    return Context(
        settings=settings,
        plans=plans,
        pool=pool,
        metrics=metrics,
        traces=build_traces(is_wanted=settings.traces, version=find_version()),
        migrations=migrations,
        readiness=Readiness(operator_pool, plans, migrations, metrics),
        figures=DatabaseFigures(operator_pool, pool, plans, metrics.registry),
        token_use=TokenUse(operator_pool),
        requests=TokenBuckets(limits.requests_per_second, limits.requests_per_second * BURST_SECONDS),
        failed_tokens=TokenBuckets(limits.failed_tokens_per_minute / 60, limits.failed_tokens_per_minute),
        prices=load_prices(settings.prices_file),
    )


def _build_app(
    context: Context, endpoints: Sequence[Endpoint], document: dict[str, Any] | None, lifespan: Lifespan | None = None
) -> FastAPI:
    """Return an app of `endpoints`; with `document` it serves that, and `/docs` over it."""
    app = App(
        endpoints=endpoints,
        context=context,
        title=TITLE,
        version=find_version(),
        lifespan=lifespan,
        exception_handlers={HTTPException: answer_framework_error},
        openapi_url=None if document is None else "/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    if document is not None:
        app.openapi = lambda: document  # type: ignore[method-assign]
        app.router.routes.extend(build_docs_routes())
    return app


def list_endpoints(plans: Sequence[Plan]) -> list[Endpoint]:
    """Return every endpoint, those of plans first: the router tries them in this order."""
    return [
        *(endpoint for plan in plans for endpoint in build_endpoints(plan)),
        *RUN_ENDPOINTS,
        *ORDER_ENDPOINTS,
        *ORDER_LIST_ENDPOINTS,
        *SUBMISSION_ENDPOINTS,
        *RUN_LIST_ENDPOINTS,
        *CALLER_ENDPOINTS,
        *SPEC_ENDPOINTS,
        *ACCOUNT_ENDPOINTS,
        *OPERATOR_ENDPOINTS,
        answer_reconcile,
    ]


def find_version() -> str:
    """Return the installed version, or "0" where the package is not installed."""
    try:
        return metadata.version("data-engine-x")
    except metadata.PackageNotFoundError:
        return "0"


def _build_lifespan(context: Context, operator_app: FastAPI | None = None) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in (context.pool, context.readiness.pool):
                await pool.open(wait=False)
                stack.push_async_callback(pool.close)
            if isinstance(app, App):
                limit = context.settings.max_body_bytes
                app.state.mcp = await stack.enter_async_context(
                    open_http_server(app.inner, context.plans, find_version(), limit)
                )
            if operator_app is not None:
                await stack.enter_async_context(serve_operator(operator_app, context.settings))
            tasks = [asyncio.create_task(work) for work in _list_housekeeping(context)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await context.token_use.write_notes()
                if context.traces is not None:
                    await asyncio.to_thread(context.traces.shut_down)

    return lifespan


def _list_housekeeping(context: Context) -> tuple[Coroutine[Any, Any, None], ...]:
    return (
        context.token_use.write_notes_forever(),
        _examine_forever(context),
        _note_unbounded_spending(context),
        sweep_forever(context),
        sweep_runs_forever(context),
    )


async def _note_unbounded_spending(context: Context) -> None:
    """Say at the start how many organisations may spend without bound."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            unbounded = await count_unbounded_organisations(connection)
    except StoreError as error:
        log.warning("budgets could not be read", reason=error.message)
        return
    if unbounded:
        hint = "`dex org budget ORG --usd N` sets one; without it spending has no bound"
        log.warning("no budget", organisations=unbounded, hint=hint)


async def _examine_forever(context: Context) -> None:
    """Look at the database now and then, so that a misfit is known before somebody asks for readiness.

    A spec that has no version yet gets its first one here; `dex migrate` and `dex backfill` register later ones.
    """
    registered = False
    while True:
        report = await context.readiness.examine()
        registered = registered or (not report.reasons and await _register_first_versions(context))
        await asyncio.sleep(EXAMINE_INTERVAL)


async def _register_first_versions(context: Context) -> bool:
    """Register the specs that have no version; return whether the database took them."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            await register_first_versions(connection, context.plans)
    except StoreError as error:
        log.warning("versions of specs not registered", reason=error.message)
        return False
    return True
