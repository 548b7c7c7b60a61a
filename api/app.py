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
from api.http.compression_and_cors import add_compression_and_cors
from api.http.disconnect import CancelOnDisconnect
from api.http.endpoint import Endpoint, ExactPathMiddleware
from api.http.errors import answer_framework_error
from api.http.metrics import Metrics
from api.http.rate_limit import RateLimit
from api.http.security_headers import SecurityHeaders
from api.http.token_buckets import TokenBuckets
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
from engine.store.identity import fetch_is_superuser

log = structlog.get_logger("api")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

TITLE = "data-engine-x"
DESCRIPTION = (
    "Research turned into rows: for each spec an endpoint that writes and one that asks. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)


#: `statement_timeout` of every connection, in seconds: ends statements whose client process has died.
#: The time limit of a request (`Limits.statement_seconds`) is shorter.
LONGEST_STATEMENT = 60.0
#: `lock_timeout`, in seconds, of the readiness checks and of recording when a token was used.
OPERATOR_LOCK_SECONDS = 0.25
#: Seconds between two readiness checks in the background.
EXAMINE_INTERVAL = 30.0
#: The rate limit of an address allows a burst of this many seconds' worth of requests.
BURST_SECONDS = 4


class App(FastAPI):
    """FastAPI with our own middleware; requests to our endpoints skip FastAPI's middleware, which costs time."""

    def __init__(self, *, endpoints: Sequence[Endpoint], context: Context, **options: Any) -> None:
        self._endpoints = endpoints
        self._context = context
        super().__init__(**options)
        self.router.routes.extend(endpoint.build_route(context) for endpoint in endpoints)
        #: The endpoints without rate limit and other limits on clients: the MCP server calls them in this process.
        self.inner = telemetry.Telemetry(self.router, context.metrics, context.traces)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the middleware stack: ours outermost, then FastAPI's."""
        direct = ExactPathMiddleware(super().build_middleware_stack(), self._endpoints, self._context)
        limited = RateLimit(add_compression_and_cors(direct, self._context.settings.cors_origins), self._context)
        measured = telemetry.Telemetry(limited, self._context.metrics, self._context.traces)
        return CancelOnDisconnect(SecurityHeaders(measured))


def create_app(settings: Settings, plans: Sequence[Plan], migrations: Path | None = None) -> FastAPI:
    """Create the API with the endpoints of `plans`.

    It starts without a database too; `/readyz` then answers 503. Readiness compares the database with the files in the
    folder `migrations`, by default that of the project which contains the working directory.
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
    """Create an app that serves `endpoints`; with an OpenAPI `document` also `/openapi.json` and `/docs`."""
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
                await context.token_use.write_use_times()
                if context.traces is not None:
                    await asyncio.to_thread(context.traces.shut_down)

    return lifespan


def _list_housekeeping(context: Context) -> tuple[Coroutine[Any, Any, None], ...]:
    return (
        context.token_use.write_use_times_forever(),
        _examine_forever(context),
        _warn_at_start(context),
        sweep_forever(context),
        sweep_runs_forever(context),
    )


async def _warn_at_start(context: Context) -> None:
    """Log at the start how many organisations have no budget, and whether the database login is a superuser."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            superuser = await fetch_is_superuser(connection)
            unbounded = await count_unbounded_organisations(connection)
    except StoreError as error:
        log.warning("budgets and the login could not be read", reason=error.message)
        return
    if superuser:
        hint = "`dex db roles` makes one that may do no more than it needs; on a machine of one's own it does no harm"
        log.warning("the database login is a superuser", hint=hint)
    if unbounded:
        hint = "`dex org budget ORG --usd N` sets one; without it spending has no bound"
        log.warning("no budget", organisations=unbounded, hint=hint)


async def _examine_forever(context: Context) -> None:
    """Check readiness every `EXAMINE_INTERVAL` seconds, so that a table that differs from its spec is known early.

    A spec that has no version yet gets its first one here; `dex migrate` and `dex backfill` register later ones.
    """
    registered = False
    while True:
        report = await context.readiness.examine()
        registered = registered or (not report.reasons and await _register_first_versions(context))
        await asyncio.sleep(EXAMINE_INTERVAL)


async def _register_first_versions(context: Context) -> bool:
    """Register the first version of each spec that has none; return whether the database could be written."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            await register_first_versions(connection, context.plans)
    except StoreError as error:
        log.warning("versions of specs not registered", reason=error.message)
        return False
    return True
