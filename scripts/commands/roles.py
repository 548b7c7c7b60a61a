"""The command `dex db roles`, which creates the logins of an installation."""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.plans import load_plans
from engine.project import find_project
from scripts import terminal
from scripts.commands.options import AsJson, Command, Group
from scripts.database_url import open_database

if TYPE_CHECKING:
    from engine.plan import Plan
    from engine.tables.roles import Login, RolesReport

#: By variable with the password of a login: the variable to which the login's URL is written.
_VARIABLES = {
    "migrate": ("DEX_MIGRATE_PASSWORD", "DEX_MIGRATE_DATABASE_URL"),
    "api": ("DEX_API_PASSWORD", "DEX_API_DATABASE_URL"),
}
_API_LOGIN = "dex_api"
_HEAD = "# Made by `dex db roles`: the URL of each login. As secret as the database.\n"


def make_database_roles(
    migrate_login: Annotated[str, typer.Option(help="Who migrates and owns the tables.")] = "dex_migrate",
    api_login: Annotated[
        str | None, typer.Option(help="Who serves and backfills, and owns nothing. Default: dex_api.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Where the URLs of new logins are written. Default: .data/roles.env.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make one login that migrates, and one for the API that may only become dex_tenant.

    Run it as a superuser, in each database, before or after the first `dex migrate`; existing logins and rights stay.
    Passwords are read from DEX_MIGRATE_PASSWORD and DEX_API_PASSWORD; without these a new login gets a random one,
    which only the written file has.
    """
    if migrate_login == (api_login or _API_LOGIN):
        raise typer.BadParameter("--migrate-login and --api-login are two logins")
    here = find_project()
    plans = load_plans(here)
    file = to or here.data / "roles.env"
    with open_database(here) as dsn:
        if api_login is None:
            asyncio.run(_check_default_login(dsn))
        names = {"migrate": migrate_login, "api": api_login or _API_LOGIN}
        logins = asyncio.run(_choose_passwords(dsn, names))
        report = asyncio.run(_make_roles(dsn, logins, plans, file))
    is_written = any(login.password for login in logins.values())
    _print_report(report, file if is_written else None, as_json)


async def _check_default_login(dsn: str) -> None:
    """Raise BadParameter if the API already has a login with another name, since its URL would be replaced."""
    from engine.store.connection import connect
    from engine.tables.engine_access import list_engine_logins, role_exists

    async with await connect(dsn) as connection:
        logins = await list_engine_logins(connection)
        if logins and not await role_exists(connection, _API_LOGIN):
            known = " or ".join(f"--api-login {name}" for name in logins[:3])
            raise typer.BadParameter(
                f"there is no login {_API_LOGIN}, and the API's rights belong to others; give {known},"
                f" or --api-login {_API_LOGIN} to make it"
            )


async def _choose_passwords(dsn: str, names: dict[str, str]) -> dict[str, Login]:
    """Return the logins with the passwords of their variables; a new login without one gets a random password."""
    from engine.store.connection import connect
    from engine.tables.engine_access import role_exists
    from engine.tables.roles import Login

    logins = {}
    async with await connect(dsn) as connection:
        for kind, name in names.items():
            password = os.environ.get(_VARIABLES[kind][0], "").strip() or None
            if password is None and not await role_exists(connection, name):
                password = secrets.token_urlsafe(32)
            logins[kind] = Login(name, password)
    return logins


async def _make_roles(dsn: str, logins: dict[str, Login], plans: tuple[Plan, ...], file: Path) -> RolesReport:
    from engine.store.connection import connect
    from engine.tables.roles import make_roles

    async with await connect(dsn) as connection:
        keep_passwords = partial(_write_urls, file, dsn, logins)
        return await make_roles(connection, logins["migrate"], logins["api"], plans, keep_passwords)


def _write_urls(file: Path, dsn: str, logins: dict[str, Login]) -> None:
    """Write the URLs of logins with known passwords to a file that only this user can read; keep its other lines."""
    from engine.store.database_url import replace_login

    if not any(login.password for login in logins.values()):
        return
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line) if file.exists() else {}
    for kind, login in logins.items():
        if login.password is not None:
            lines[_VARIABLES[kind][1]] = replace_login(dsn, login.name, login.password)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(_HEAD + "".join(f"{name}={url}\n" for name, url in lines.items()), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write `{file}`: {error.strerror}; name another with --to") from error


def _print_report(report: RolesReport, file: Path | None, as_json: bool) -> None:
    if as_json:
        terminal.print_json([role.as_dict() for role in report.roles])
        return
    for sentence in report.done:
        terminal.print_line(sentence)
    rows = [(role.name, "yes" if role.login else "no", ", ".join(role.member_of), role.owns) for role in report.roles]
    terminal.print_table(("role", "logs in", "member of", "owns"), rows)
    if file is not None:
        terminal.print_note(f"the URLs with the new passwords are in {file}; they are shown nowhere")
    elif not report.done:
        terminal.print_note("nothing had to be changed")


GROUPS = (
    Group(
        "db",
        None,
        (),
        (
            Command(
                "roles",
                make_database_roles,
                ("dex db roles", "dex db roles --api-login dex_api_staging --to roles.env"),
            ),
        ),
        "Make the logins that work on the database.",
    ),
)
