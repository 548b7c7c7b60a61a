"""The commands about API tokens and organisations: token (create, list, revoke), org (create, list)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from engine.store.caller_roles import CallerRole
from scripts import terminal
from scripts.commands.options import AsJson, Command, Group, read_optional_uuid, read_uuid
from scripts.database_url import run_in_database

_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([dh])")


def create_token(
    org: Annotated[str, typer.Option(help="The organisation.")],
    name: Annotated[str, typer.Option(help="What the token is for.")],
    role: Annotated[CallerRole, typer.Option(help="What it may do.")] = CallerRole.MEMBER,
    expires: Annotated[
        str | None, typer.Option(help="Lifetime in days or hours: 90d, 12h. Default: unlimited.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="Bind it to a company of the organisation.")] = None,
    user: Annotated[str | None, typer.Option(help="The user it belongs to; it is valid while they are active.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API token and print it.

    Only its hash is stored, so it cannot be printed again: replace a lost token by a new one, and revoke it.
    """
    from engine.store import access

    new = access.NewToken(
        org_id=read_uuid(org, "--org"),
        name=name,
        role=role,
        lifetime=None if expires is None else read_lifetime(expires),
        company_id=read_optional_uuid(company, "--company"),
        user_id=read_optional_uuid(user, "--user"),
    )

    token_id, token = run_in_database(lambda connection: access.create_token(connection, new))
    if as_json:
        terminal.print_json({"id": token_id, "token": token})
        return
    terminal.print_line(token)
    terminal.print_note(f"token {token_id}: it is shown only once; `dex token revoke {token_id}` ends it")


def list_tokens(
    org: Annotated[str | None, typer.Option(help="Only tokens of this organisation.")] = None, as_json: AsJson = False
) -> None:
    """List API tokens: organisation, role, state, expiry and last use."""
    from engine.store import access

    org_id = read_optional_uuid(org, "--org")
    tokens = run_in_database(lambda connection: access.list_tokens(connection, org_id), org_id)
    _print_rows(tokens, ("id", "org_id", "name", "role", "state", "expires_at", "last_used_at"), as_json)


def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, not the token itself.")],
    as_json: AsJson = False,
) -> None:
    """Revoke an API token, so that its next request is refused."""
    from engine.store import access

    wanted = read_uuid(token_id, "ID")
    run_in_database(lambda connection: access.revoke_token(connection, wanted))
    if as_json:
        terminal.print_json({"id": wanted, "state": "revoked"})
        return
    terminal.print_line(f"revoked {wanted}")


def create_organisation(
    name: Annotated[str, typer.Argument(help="Its name, from which its slug is derived.", metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """Create an organisation and print its id."""
    from engine.store import access

    organisation = run_in_database(lambda connection: access.create_organisation(connection, name))
    if as_json:
        terminal.print_json(organisation)
        return
    terminal.print_line(organisation["id"])
    terminal.print_note(f"organisation `{organisation['slug']}`")


def list_organisations(as_json: AsJson = False) -> None:
    """List the organisations, oldest first."""
    from engine.store import access

    _print_rows(run_in_database(access.list_organisations), ("id", "slug", "name", "created_at"), as_json)


def read_lifetime(text: str) -> timedelta:
    """Parse a duration in days or hours, such as `90d` or `12h`. Raises BadParameter for other texts."""
    match = _LIFETIME.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"--expires: `{text[:40]}` is no duration; write days or hours, such as 90d or 12h")
    number = int(match[1])
    return timedelta(days=number) if match[2] == "d" else timedelta(hours=number)


def _print_rows(rows: list[dict[str, Any]], names: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        terminal.print_json(rows)
        return
    terminal.print_rows(names, rows)


_ORG = "b0293785-aa7a-4234-8201-cc47305295f8"

GROUPS = (
    Group(
        "token",
        None,
        (),
        (
            Command(
                "create",
                create_token,
                ("dex token create --name ci --expires 90d \\", f"  --org {_ORG}"),
            ),
            Command("list", list_tokens, ("dex token list", f"dex token list --org {_ORG}")),
            Command("revoke", revoke_token, ("dex token revoke 3f0c3a0e-6a58-4f0e-9a52-1f4c6a3f1c11",)),
        ),
        "Create, list and revoke API tokens.",
    ),
    Group(
        "org",
        None,
        (),
        (
            Command("create", create_organisation, ('dex org create "Acme, Inc."',)),
            Command("list", list_organisations, ("dex org list",)),
        ),
        "Create and list organisations, and set their budgets.",
    ),
)
