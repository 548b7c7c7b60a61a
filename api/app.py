"""Create the FastAPI app from settings and plans."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api import accounts, callers, operator, specs, sweep
from api.console_page import build_console_routes
from api.context import Context
from api.database_metrics import DatabaseMetrics
from api.docs_page import build_docs_routes
from api.http import telemetry
from api.http.errors import (
    Fault,
    answer_disconnect,
    answer_fault,
    answer_framework_error,
    answer_invalid_request,
    answer_store_error,
)
from api.http.metrics import Metrics
from api.http.middleware import list_middleware
from api.http.named_schemas import move_to_components
from api.http.openapi import ERROR, install_document
from api.http.token_buckets import TokenBuckets
from api.http.traces import build_traces
from api.mcp.routes import agent_router
from api.mcp.server import open_http_server
from api.readiness import Readiness
from api.rows.routes import add_spec_endpoints
from api.runs import order_lists, orders, routes, run_list, submissions
from api.runs.dispatch import sweep_runs_forever
from api.server import serve_operator
from api.settings import Settings
from api.token_use import TokenUse
from engine.backfill.versions import register_first_versions
from engine.errors import EngineError
from engine.orders.budgets import count_unbounded_organisations
from engine.orders.errors import OrderError
from engine.orders.prices import load_prices
from engine.plan import Plan
from engine.runs.errors import RunError
from engine.store.connection import StatementBounds, build_pool
from engine.store.errors import StoreError, wrap_errors
from engine.store.identity import fetch_is_superuser

log = structlog.get_logger("api")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

TITLE = "data-engine-x"
DESCRIPTION = (
    "Rows made of research: for each spec, endpoints that write, query and explain its rows. "
    'Success is `{"data": ...}`, failure `{"error", "code", "detail", "hint"}`.'
)

#: `statement_timeout` of every connection, in seconds: it ends statements whose client process has died.
#: The time limit of a request (`Limits.statement_seconds`) is shorter.
LONGEST_STATEMENT = 60.0
#: `lock_timeout`, in seconds, of the readiness checks and of recording when a token was used.
OPERATOR_LOCK_SECONDS = 0.25
#: Seconds between two readiness checks in the background.
READINESS_INTERVAL = 30.0
#: The rate limit of an address allows a burst of this many seconds' worth of requests.
BURST_SECONDS = 4

#: The errors that endpoints raise, and the functions that build their responses; Telemetry does so for other errors.
EXCEPTION_HANDLERS: dict[Any, Any] = {
    Fault: answer_fault,
    StoreError: answer_store_error,
    RunError: routes.answer_run_error,
    OrderError: routes.answer_run_error,
    RequestValidationError: answer_invalid_request,
    HTTPException: answer_framework_error,
    ClientDisconnect: answer_disconnect,
}

#: The routers of all endpoints but those of specs and those about the process.
ROUTERS: tuple[APIRouter, ...] = (
    routes.router,
    orders.router,
    order_lists.router,
    submissions.runner_router,
    submissions.spender_router,
    submissions.router,
    run_list.router,
    callers.router,
    specs.router,
    accounts.router,
    accounts.spec_router,
    operator.router,
    sweep.router,
    agent_router,
)


def create_app(settings: Settings, plans: Sequence[Plan], migrations: Path) -> FastAPI:
    """Create the API with the endpoints of `plans`.

    It starts without a database too; `/readyz` then answers 503. Readiness compares the database with the files in the
    folder `migrations`. If the settings have an operator's address, the endpoints about the process, and the
    document of all endpoints, are served only there, by a second app.
    """
    telemetry.configure_logging()
    context = _build_context(settings, tuple(plans), migrations)
    operator_app = None if settings.operator_address is None else _build_app(context)
    app = _build_app(context, _build_lifespan(context, operator_app))
    components: dict[str, Any] = {}
    move_to_components(ERROR, components)
    for plan in plans:
        add_spec_endpoints(app.router, plan, components)
    for router in ROUTERS:  # with `include_router` a request costs 46 to 71 us more (docs/decisions/016)
        app.router.routes.extend(router.routes)
    documented = operator_app or app
    documented.router.routes.extend(operator.process_router.routes)
    install_document(documented, [*app.routes, *(operator_app.routes if operator_app else ())], components)
    documented.router.routes.extend(build_docs_routes())
    app.router.routes.extend(build_console_routes())
    return app


def _build_app(context: Context, lifespan: Lifespan | None = None) -> FastAPI:
    app = FastAPI(
        title=TITLE,
        version=find_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        middleware=list_middleware(context),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_url=None,  # `api.docs_page` serves the document
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.state.context = context
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
        database_metrics=DatabaseMetrics(operator_pool, pool, plans, metrics.registry),
        token_use=TokenUse(operator_pool),
        requests=TokenBuckets(limits.requests_per_second, limits.requests_per_second * BURST_SECONDS),
        failed_tokens=TokenBuckets(limits.failed_tokens_per_minute / 60, limits.failed_tokens_per_minute),
        prices=load_prices(settings.prices_file),
    )


def find_version() -> str:
    """Return the installed version, or "0" if the package is not installed."""
    try:
        return metadata.version("data-engine-x")
    except metadata.PackageNotFoundError:
        return "0"


def _build_lifespan(context: Context, operator_app: FastAPI | None) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in (context.pool, context.readiness.pool):
                await pool.open(wait=False)
                stack.push_async_callback(pool.close)
            limit = context.settings.max_body_bytes
            app.state.mcp = await stack.enter_async_context(open_http_server(app, context.plans, find_version(), limit))
            if operator_app is not None:
                await stack.enter_async_context(serve_operator(operator_app, context.settings))
            tasks = [asyncio.create_task(work) for work in _list_housekeeping(context)]
            gc.freeze()  # a full collection would look through all that was loaded, while every request waits
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
        _check_readiness_forever(context),
        _warn_at_start(context),
        sweep.sweep_forever(context),
        sweep_runs_forever(context),
    )


async def _warn_at_start(context: Context) -> None:
    """Log a warning if organisations have no budget, and if the database login is a superuser."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            superuser = await fetch_is_superuser(connection)
            unbounded = await count_unbounded_organisations(connection)
    except StoreError as error:
        log.warning("budgets and the login could not be read", reason=error.message)
        return
    if superuser:
        hint = "`dex db roles` makes one with only the rights it needs; on your own machine this does no harm"
        log.warning("the database login is a superuser", hint=hint)
    if unbounded:
        hint = "`dex org budget ORG --usd N` sets one; without it spending is unlimited"
        log.warning("no budget", organisations=unbounded, hint=hint)


async def _check_readiness_forever(context: Context) -> None:
    """Check readiness every `READINESS_INTERVAL` seconds, so that a table which does not fit its spec is noticed early.

    A spec without any version gets its first one here; `dex migrate` and `dex backfill` register later ones.
    """
    registered = False
    while True:
        report = await context.readiness.check_everything()
        registered = registered or (not report.reasons and await _register_first_versions(context))
        await asyncio.sleep(READINESS_INTERVAL)


async def _register_first_versions(context: Context) -> bool:
    """Register the first version of each spec that has none; return whether the database accepted writes."""
    try:
        async with wrap_errors(), context.readiness.pool.connection() as connection:
            await register_first_versions(connection, context.plans)
    except EngineError as error:  # SpecOutdated, too: another process registers another version at the same time
        log.warning("versions of specs not registered", reason=error.message)
        return False
    return True
