"""The settings of the API, read from environment variables. No secret has a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.errors import EngineError

TRIGGER_API_URL = "https://api.trigger.dev"
MAX_BODY_BYTES = 32 * 1024 * 1024  # a 20 MB document and its wrapping pass
POOL_SIZE = 8

#: Without these the API does not start.
REQUIRED = ("DATABASE_URL", "INTERNAL_API_KEY", "JWT_SECRET")


class SettingsError(EngineError):
    """A variable is missing, blank or wrong. `names` lists those variables."""

    def __init__(self, message: str, names: tuple[str, ...], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.names = names


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one start. Secrets are left out of `repr`, so that no log line can show them."""

    database_url: str = field(repr=False)
    internal_api_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    super_admin_jwt_secret: str | None = field(default=None, repr=False)  # None: no super-admin signs in with a JWT
    super_admin_api_key: str | None = field(default=None, repr=False)  # None: no super-admin has a static key
    trigger_secret_key: str | None = field(default=None, repr=False)  # None: the local runner executes the runs
    trigger_api_url: str = TRIGGER_API_URL
    max_body_bytes: int = MAX_BODY_BYTES
    pool_size: int = POOL_SIZE


def load_settings(environ: Mapping[str, str], *, database_url: str | None = None) -> Settings:
    """Return the settings in `environ`; `database_url` replaces the variable (for the embedded server).

    Raises SettingsError naming every required variable that is missing or blank, and every number that is none.
    """
    variables = {name: value.strip() for name, value in environ.items() if value.strip()}
    if database_url:
        variables["DATABASE_URL"] = database_url
    _check_required(variables)
    return Settings(
        database_url=variables["DATABASE_URL"],
        internal_api_key=variables["INTERNAL_API_KEY"],
        jwt_secret=variables["JWT_SECRET"],
        super_admin_jwt_secret=variables.get("SUPER_ADMIN_JWT_SECRET"),
        super_admin_api_key=variables.get("SUPER_ADMIN_API_KEY"),
        trigger_secret_key=variables.get("TRIGGER_SECRET_KEY"),
        trigger_api_url=variables.get("TRIGGER_API_URL", TRIGGER_API_URL).rstrip("/"),
        max_body_bytes=_parse_number(variables, "DATA_ENGINE_MAX_BODY_BYTES", MAX_BODY_BYTES),
        pool_size=_parse_number(variables, "DATA_ENGINE_POOL_SIZE", POOL_SIZE),
    )


def _check_required(variables: Mapping[str, str]) -> None:
    missing = tuple(name for name in REQUIRED if name not in variables)
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        raise SettingsError(
            f"missing or blank in the environment: {named}",
            missing,
            hint="set them before the start; `make serve` makes random ones for this machine",
        )


def _parse_number(variables: Mapping[str, str], name: str, default: int) -> int:
    text = variables.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise SettingsError(f"`{name}` is `{text}`", (name,), hint="write a whole number above 0")
    return int(text)
