"""Commands that serve: serve, worker."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine import plans as load
from engine import project
from engine.errors import EngineError
from engine.project import Project
from scripts import console
from scripts.commands.backfill import as_uuid
from scripts.database_url import database


class CannotListen(EngineError):
    """The address is taken, or not ours."""


_SECRETS = ("INTERNAL_API_KEY", "JWT_SECRET", "SUPER_ADMIN_JWT_SECRET", "SUPER_ADMIN_API_KEY")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one and says which.")] = 8000,
    dev: Annotated[
        bool, typer.Option("--dev", help="Make random secrets where none are set, and apply the migrations.")
    ] = False,
) -> None:
    """Serve the API until it is stopped."""
    import uvicorn

    from api import settings
    from api.app import create_app
    from engine.tables import migrate

    here = project.find()
    environment = {**os.environ, **(_development_secrets(here) if dev else {})}
    settings.load(environment, database_url="checked first")  # a missing secret is said before a server is started
    plans = load.load(here)
    with database(here) as dsn:
        if dev:
            asyncio.run(migrate.migrate(dsn, here.migrations))
        app = create_app(settings.load(environment, database_url=dsn), plans, here.migrations)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")
        listener = _listen(host, port)
        console.note(f"serving on http://{host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotListen naming the address."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another `--port`"
        ) from error


def _development_secrets(here: Project) -> dict[str, str]:
    """The secrets of this machine's development server: random, made once under `.data/`, readable by you alone."""
    file = here.data / "development.env"
    if not file.exists():
        here.data.mkdir(exist_ok=True)
        lines = [f"{name}={secrets.token_urlsafe(32)}\n" for name in _SECRETS]
        file.touch(mode=0o600, exist_ok=False)
        file.write_text("".join(lines), encoding="utf-8")
    made = dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    used = {name: value for name, value in made.items() if not os.environ.get(name, "").strip()}
    if used:
        console.note(f"{', '.join(used)}: random, from {file.relative_to(here.root)}")
    return used


def worker(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when no run is waiting.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 4,
    org: Annotated[str | None, typer.Option(help="Only this organisation's runs.")] = None,
) -> None:
    """Claim queued runs and execute them here, without Trigger.dev. Needs the runner's environment (see README)."""
    arguments = ["--concurrency", str(concurrency), *(["--until-idle"] if until_idle else [])]
    arguments += ["--org", as_uuid(org, "--org") or ""] if org is not None else []
    command = node(project.find(), "src/local/worker.ts", *arguments)
    os.execv(command[0], command)  # the worker takes this process over, so that a signal reaches it


def node(here: Project, script: str, *arguments: str) -> list[str]:
    """The words that run a TypeScript file of trigger/, in one process, with the node that `make setup` chose."""
    loader = here.root / "trigger" / "node_modules" / "tsx" / "dist" / "esm" / "index.mjs"
    chosen = Path(sys.executable).parent / "node"
    if not loader.exists() or not chosen.exists():
        raise typer.BadParameter("trigger/node_modules is not there: run `make setup` first")
    return [str(chosen), "--import", loader.as_uri(), str(here.root / "trigger" / script), *arguments]


COMMANDS = (serve, worker)
