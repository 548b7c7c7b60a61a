"""Run the app under uvicorn, within the limits of the settings."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.http.protocol import ConnectionGuard, build_protocol
from api.settings import Settings, SettingsError

log = structlog.get_logger("api")

#: File descriptors reserved for other things than client connections: database connections, log files, imports.
_RESERVED_DESCRIPTORS = 64
#: Connections that are accepted per iteration of the event loop.
_ACCEPTED_AT_ONCE = 16


def build_server(app: ASGIApp, settings: Settings, *, lifespan: bool = True) -> uvicorn.Server:
    """Return a uvicorn server for `app` that ends within `Limits.shutdown_seconds` after SIGTERM, whatever clients do.

    Behind a proxy, `FORWARDED_ALLOW_IPS` lists the addresses whose `x-forwarded-for` header is trusted, in uvicorn's
    format.
    """
    guard = ConnectionGuard(settings.limits, count_connections(settings))
    config = uvicorn.Config(
        app,
        http=build_protocol(guard),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on" if lifespan else "off",
        server_header=False,
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=settings.limits.idle_seconds,
        timeout_graceful_shutdown=settings.limits.shutdown_seconds,
    )
    return uvicorn.Server(config)


def duplicate_listener(listener: socket.socket) -> list[socket.socket]:
    """Return `listener` and duplicates of it, for `uvicorn.Server.run`.

    uvloop accepts one connection per socket and iteration. When a thousand clients connect while requests are answered,
    the next client would wait for a thousand iterations; with the duplicates it waits for about sixty.
    """
    return [listener, *(listener.dup() for _ in range(1, _ACCEPTED_AT_ONCE))]


def count_connections(settings: Settings) -> int:
    """Return how many client connections may be open: the setting, or less if the file descriptor limit demands it."""
    try:
        import resource  # does not exist on Windows
    except ImportError:
        return settings.limits.connections
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return settings.limits.connections
    return min(settings.limits.connections, max(descriptors - settings.pool_size - _RESERVED_DESCRIPTORS, 8))


@asynccontextmanager
async def serve_operator(app: ASGIApp, settings: Settings) -> AsyncIterator[None]:
    """Serve `app` on the operator's address during a `with` block.

    Raises SettingsError when the address is not usable.
    """
    assert settings.operator_address is not None
    host, _, port = settings.operator_address.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on `DEX_OPERATOR_ADDRESS` {settings.operator_address}: {error.strerror}",
            ("DEX_OPERATOR_ADDRESS",),
            hint="name a free port of this machine",
        ) from error
    server = build_server(app, settings, lifespan=False)
    task = asyncio.create_task(server.serve([listener]))
    log.info("operator address", host=host, port=listener.getsockname()[1])
    try:
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task
