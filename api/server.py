"""The process that answers.

In: settings, plans, where to listen. Out: nothing until it is told to stop. It must not know what the app does.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from api.app import create_app
from api.settings import Settings
from engine.plan import Plan


def serve(settings: Settings, plans: Sequence[Plan], migrations: Path, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished first.

    One process: the metrics of one process are the metrics of the service. Start several behind a proxy to use more
    cores.
    """
    app = create_app(settings, plans, migrations)
    gc.collect()
    gc.freeze()  # what stands now stands until the end: no collection need look at it again
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,  # Telemetry writes a line per request
        proxy_headers=False,  # nothing here looks at the caller's address
        server_header=False,
        timeout_graceful_shutdown=30,
    )
