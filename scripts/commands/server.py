"""The commands that run until they are stopped: serve, worker, mcp."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from engine.errors import EngineError
from engine.plans import load_plans
from engine.project import Project, find_project
from scripts import terminal
from scripts.commands.options import Command, read_optional_uuid, read_uuid
from scripts.database_url import open_database, require_organisation
from scripts.processes import start_process


class CannotListen(EngineError):
    """The address is in use, or is not an address of this machine."""


_SECRETS = ("INTERNAL_API_KEY", "JWT_SECRET", "SUPER_ADMIN_JWT_SECRET", "SUPER_ADMIN_API_KEY")


def serve_api(
    host: Annotated[str, typer.Option(envvar="DEX_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PORT", min=0, max=65535, help="Port; 0 chooses a free one and prints it.")
    ] = 8000,
    dev: Annotated[
        bool, typer.Option("--dev", help="Use random secrets where none are set, and apply the migrations.")
    ] = False,
) -> None:
    """Serve the API and the console until it is stopped.

    `--dev` needs no environment variables: it creates random keys, applies the migrations, and prints a URL of the
    console that contains a key to sign in.
    """
    gc.disable()  # until all is imported and built: of that nothing is garbage, and to look for it takes 0.4 s
    from api import settings
    from api.app import create_app
    from api.server import build_server, duplicate_listener
    from engine.tables import migrate

    here = find_project()
    environment = {**os.environ, **(_load_development_secrets(here) if dev else {})}
    settings.load_settings(
        environment, database_url="checked first"
    )  # before the embedded Postgres is started, since it raises for a missing secret
    plans = load_plans(here)
    with open_database(here) as dsn:
        if dev:
            asyncio.run(migrate.migrate(dsn, here.migrations))
        loaded = settings.load_settings(environment, database_url=dsn)
        server = build_server(create_app(loaded, plans, here.migrations), loaded)
        gc.enable()
        listener = _open_listener(host, port)
        address = f"http://{host}:{listener.getsockname()[1]}"
        terminal.print_note(f"console: {address}/console{_build_sign_in(dev)}")
        terminal.print_note(f"serving on {address}")
        server.run(sockets=duplicate_listener(listener))


def _build_sign_in(dev: bool) -> str:
    """Return the fragment of the console's URL that signs in with the random key of `--dev`, else "".

    Browsers do not send the part after `#`, so no log contains it. A key set in the environment is never printed.
    """
    key = _read_development_secrets(find_project()).get("SUPER_ADMIN_API_KEY") if dev else None
    return "" if key is None or os.environ.get("SUPER_ADMIN_API_KEY", "").strip() else f"#key={key}"


def _open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises CannotListen that names the address."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # Python repeats the address in brackets
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}", hint="choose another `--port`") from error


def _load_development_secrets(here: Project) -> dict[str, str]:
    """Return random secrets for the variables that are not set; they are kept in a file in `.data/`."""
    file = here.data / "development.env"
    if not file.exists():
        here.data.mkdir(exist_ok=True)
        lines = [f"{name}={secrets.token_urlsafe(32)}\n" for name in _SECRETS]
        file.touch(mode=0o600, exist_ok=False)
        file.write_text("".join(lines), encoding="utf-8")
    stored = _read_development_secrets(here)
    used = {name: value for name, value in stored.items() if not os.environ.get(name, "").strip()}
    if used:
        terminal.print_note(f"{', '.join(used)}: random, from {file.relative_to(here.root)}")
    return used


def _read_development_secrets(here: Project) -> dict[str, str]:
    """Return the secrets that `dex serve --dev` created; {} if it never ran."""
    file = here.data / "development.env"
    if not file.exists():
        return {}
    return dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())


def serve_agent(
    token: Annotated[
        str | None, typer.Option(envvar="DEX_TOKEN", help="The API token with which the agent acts.")
    ] = None,
    org: Annotated[str | None, typer.Option(help="For operators, instead of a token: the organisation.")] = None,
) -> None:
    """Serve one agent over MCP on standard input and output.

    The tools of the Model Context Protocol (MCP) only read. It needs the optional dependency `mcp`.
    """
    from api.auth import ORG_HEADER
    from api.mcp.server import check_installed

    check_installed()
    if bool(token) == (org is not None):
        raise typer.BadParameter("name `--token` (or the variable DEX_TOKEN) or `--org`, one of them")
    internal_key = secrets.token_urlsafe(32)  # used only inside this process
    headers = {"authorization": f"Bearer {token or internal_key}"}
    org_id = read_optional_uuid(org, "--org")
    if org_id is not None:
        headers[ORG_HEADER] = org_id
    here = find_project()
    with open_database(here) as dsn:
        require_organisation(dsn, org_id)
        asyncio.run(_serve_agent(here, dsn, internal_key, headers))


async def _serve_agent(here: Project, dsn: str, internal_key: str, headers: dict[str, str]) -> None:
    from api import settings
    from api.app import create_app, find_version
    from api.mcp.endpoint_client import EndpointClient
    from api.mcp.server import serve_stdio

    environment = {"JWT_SECRET": secrets.token_urlsafe(32), **os.environ, "INTERNAL_API_KEY": internal_key}
    plans = load_plans(here)
    app = create_app(settings.load_settings(environment, database_url=dsn), plans, here.migrations)
    async with app.router.lifespan_context(app):
        await serve_stdio(plans, find_version(), EndpointClient(app, headers))


def run_worker(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Exit when no run is queued.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="The most runs executed concurrently.")] = 4,
    org: Annotated[str | None, typer.Option(help="Only runs of this organisation.")] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Use recorded or invented research, which costs nothing.")
    ] = False,
) -> None:
    """Claim queued runs and execute them on this machine.

    It does not use Trigger.dev. It needs the runner's environment variables (see README.md), or with --recorded only
    the running API of `dex serve --dev`.
    """
    arguments = ["--concurrency", str(concurrency), *(["--until-idle"] if until_idle else [])]
    arguments += ["--org", read_uuid(org, "--org")] if org is not None else []
    here = find_project()
    command = build_node_command(here, "src/local-runner/main.ts", *arguments)
    if recorded:
        raise typer.Exit(_run_recorded_worker(here, command))
    os.execv(command[0], command)  # replaces this process, so that signals reach the worker


def _run_recorded_worker(here: Project, command: list[str]) -> int:
    """Run the worker with the recorded provider, which costs nothing; return the worker's exit status.

    Raises BadParameter for an API on another machine, which must not get invented rows.
    """
    environment = {**_read_development_secrets(here), **os.environ}
    defaults = {
        "DATA_ENGINE_API_URL": "http://127.0.0.1:8000",
        "DATA_ENGINE_INTERNAL_API_KEY": environment.get("INTERNAL_API_KEY", ""),
    }
    api = {**defaults, **environment}["DATA_ENGINE_API_URL"]
    if urlsplit(api).hostname not in ("127.0.0.1", "::1", "localhost"):
        raise typer.BadParameter(
            f"--recorded would write made-up research into `{api}`: it works only with an API on this machine"
        )
    with start_process(build_node_command(here, "recorded-provider/main.ts"), cwd=here.root) as provider:
        url = str(json.loads(provider.wait_for_line('"url"'))["url"])
        bought = {"PARALLEL_API_KEY": "key-of-the-recorded-provider", "PARALLEL_BASE_URL": url}
        return subprocess.run(command, env={**defaults, **environment, **bought}, check=False).returncode


def build_node_command(here: Project, script: str, *arguments: str) -> list[str]:
    """Build the command that runs a TypeScript file of trigger/ with the Node.js that `make setup` chose.

    Raises BadParameter when the npm packages are not installed.
    """
    if not (here.root / "trigger" / "package.json").is_file():
        raise typer.BadParameter(
            f"`{here.root}` has no runner in `trigger/`: it is that of a checkout of data-engine-x,"
            " or of the worker's image"
        )
    loader = here.root / "trigger" / "node_modules" / "tsx" / "dist" / "esm" / "index.mjs"
    chosen = Path(sys.executable).parent / "node"
    if not loader.exists() or not chosen.exists():
        raise typer.BadParameter("trigger/node_modules does not exist: run `make setup` first")
    return [str(chosen), "--import", loader.as_uri(), str(here.root / "trigger" / script), *arguments]


COMMANDS = (
    Command("serve", serve_api, ("dex serve --dev", "dex serve --host 0.0.0.0 --port 8080")),
    Command("worker", run_worker, ("dex worker", "dex worker --until-idle --recorded")),
    Command("mcp", serve_agent, ("dex mcp --token TOKEN", "dex mcp --org UUID")),
)
