"""The settings of the API, read from environment variables. No secret has a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from api.http.traces import names_trace_endpoint
from engine.errors import EngineError

TRIGGER_API_URL = "https://api.trigger.dev"
MAX_BODY_BYTES = 32 * 1024 * 1024  # enough for a document of 20 MB and the JSON around it
POOL_SIZE = 8
MIN_SECRET_LENGTH = 32  # characters; HS256 asks for 32 bytes
MAX_QUEUED_STEPS = 10_000  # per organisation
SWEEP_SECONDS = 60
MAX_RUN_ATTEMPTS = 10

_ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]-]+")

#: Without these the API does not start.
REQUIRED = ("DATABASE_URL", "INTERNAL_API_KEY", "JWT_SECRET")
#: Secrets chosen by the operator, whose length is checked: a short one can be guessed.
SECRETS = (
    "INTERNAL_API_KEY",
    "INTERNAL_API_KEY_PREVIOUS",
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "SUPER_ADMIN_JWT_SECRET",
    "SUPER_ADMIN_API_KEY",
)


class SettingsError(EngineError):
    """An environment variable is missing, blank or wrong; `names` lists the variables."""

    def __init__(self, message: str, names: tuple[str, ...], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.names = names


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what clients may use of the API. Times are in seconds."""

    connections: int = 1000  # open at once; fewer if the process may open fewer file descriptors
    header_bytes: int = 16 * 1024  # request line and headers together
    header_seconds: int = 10
    body_seconds: int = 60
    idle_seconds: int = 15  # between two requests of a connection
    unread_seconds: int = 60  # for which a client may read nothing of its response
    requests_per_second: int = 500  # per address, in bursts of up to four seconds' worth; not with the internal key
    failed_tokens_per_minute: int = 30  # unknown API tokens from one address
    statement_seconds: int = 10  # for the database work of one request
    lock_seconds: int = 2  # for which a statement waits for a lock
    shutdown_seconds: int = 10  # within which running requests have to end after SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one API process. `repr` leaves secrets out, so that no log line can show them."""

    database_url: str = field(repr=False)
    internal_api_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    internal_api_key_previous: str | None = field(default=None, repr=False)  # still accepted while callers switch
    jwt_secret_previous: str | None = field(default=None, repr=False)  # still verifies what it signed
    super_admin_jwt_secret: str | None = field(default=None, repr=False)  # None: no super-admin can sign in with a JWT
    super_admin_api_key: str | None = field(default=None, repr=False)  # None: no super-admin has a static key
    trigger_secret_key: str | None = field(default=None, repr=False)  # None: the local runner executes the runs
    trigger_api_url: str = TRIGGER_API_URL
    max_body_bytes: int = MAX_BODY_BYTES
    pool_size: int = POOL_SIZE
    operator_address: str | None = None  # HOST:PORT; if set, only there are health, readiness, metrics and /docs
    trusted_proxies: str | None = None  # addresses whose `x-forwarded-for` is trusted, separated by commas
    cors_origins: tuple[str, ...] = ()  # origins whose pages may call the API from a browser
    prices_file: str | None = None  # None: the prices that come with the project
    max_queued_steps: int = MAX_QUEUED_STEPS
    max_run_attempts: int = MAX_RUN_ATTEMPTS  # after so many attempts a run is marked failed
    traces: bool = False  # whether spans are exported, as OpenTelemetry's variables say
    sweep_seconds: int = SWEEP_SECONDS  # between two backfills of pending step results; 0: none here
    limits: Limits = field(default_factory=Limits)

    @property
    def internal_api_keys(self) -> tuple[str, ...]:
        """The internal keys that are accepted, the current one first."""
        return tuple(filter(None, (self.internal_api_key, self.internal_api_key_previous)))

    @property
    def jwt_secrets(self) -> tuple[str, ...]:
        """The secrets that verify session JWTs and cursors; the first also signs new cursors."""
        return tuple(filter(None, (self.jwt_secret, self.jwt_secret_previous)))


def load_settings(environ: Mapping[str, str], *, database_url: str | None = None) -> Settings:
    """Read the settings from `environ`; `database_url` replaces its `DATABASE_URL` (for the embedded Postgres).

    Raises SettingsError for required variables that are missing or blank, secrets that are too short, and values that
    do not parse.
    """
    variables = {name: value.strip() for name, value in environ.items() if value.strip()}
    if database_url:
        variables["DATABASE_URL"] = database_url
    _check_required(variables)
    _check_secrets(variables)
    return Settings(
        database_url=variables["DATABASE_URL"],
        internal_api_key=variables["INTERNAL_API_KEY"],
        jwt_secret=variables["JWT_SECRET"],
        internal_api_key_previous=variables.get("INTERNAL_API_KEY_PREVIOUS"),
        jwt_secret_previous=variables.get("JWT_SECRET_PREVIOUS"),
        super_admin_jwt_secret=variables.get("SUPER_ADMIN_JWT_SECRET"),
        super_admin_api_key=variables.get("SUPER_ADMIN_API_KEY"),
        trigger_secret_key=variables.get("TRIGGER_SECRET_KEY"),
        trigger_api_url=variables.get("TRIGGER_API_URL", TRIGGER_API_URL).rstrip("/"),
        max_body_bytes=_parse_number(variables, "DATA_ENGINE_MAX_BODY_BYTES", MAX_BODY_BYTES),
        pool_size=_parse_number(variables, "DATA_ENGINE_POOL_SIZE", POOL_SIZE),
        prices_file=variables.get("DATA_ENGINE_PRICES"),
        max_queued_steps=_parse_number(variables, "DATA_ENGINE_MAX_QUEUED_STEPS", MAX_QUEUED_STEPS),
        max_run_attempts=_parse_number(variables, "DATA_ENGINE_MAX_RUN_ATTEMPTS", MAX_RUN_ATTEMPTS),
        sweep_seconds=_parse_number(variables, "DEX_SWEEP_SECONDS", SWEEP_SECONDS, least=0),
        operator_address=_parse_address(variables, "DEX_OPERATOR_ADDRESS"),
        trusted_proxies=variables.get("FORWARDED_ALLOW_IPS"),
        cors_origins=_parse_origins(variables, "DEX_CORS_ORIGINS"),
        traces=names_trace_endpoint(variables),
        limits=_load_limits(variables),
    )


def _load_limits(variables: Mapping[str, str]) -> Limits:
    """Read each limit from the variable `DEX_LIMIT_` and its name in upper case, such as `DEX_LIMIT_BODY_SECONDS`."""
    defaults = Limits()
    names = Limits.__slots__
    return Limits(
        **{name: _parse_number(variables, f"DEX_LIMIT_{name.upper()}", getattr(defaults, name)) for name in names}
    )


def _check_required(variables: Mapping[str, str]) -> None:
    missing = tuple(name for name in REQUIRED if name not in variables)
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        raise SettingsError(
            f"missing or blank in the environment: {named}",
            missing,
            hint="set them before the start, or write them into `.env`; `dex serve --dev` makes random ones",
        )


def _check_secrets(variables: Mapping[str, str]) -> None:
    short = tuple(name for name in SECRETS if 0 < len(variables.get(name, "")) < MIN_SECRET_LENGTH)
    if short:
        named = ", ".join(f"`{name}`" for name in short)
        raise SettingsError(
            f"shorter than {MIN_SECRET_LENGTH} characters: {named}",
            short,
            hint='write a random one: `python3 -c "import secrets; print(secrets.token_urlsafe(32))"`',
        )


def _parse_number(variables: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = variables.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise SettingsError(f"`{name}` is `{text}`", (name,), hint=f"write a whole number, {least} or more")
    return int(text)


def _parse_address(variables: Mapping[str, str], name: str) -> str | None:
    text = variables.get(name)
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingsError(f"`{name}` is `{text}`", (name,), hint="write HOST:PORT, such as 127.0.0.1:9000")
    return text


def _parse_origins(variables: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the origins of a comma-separated list; `*` means any. Raises SettingsError for an invalid origin."""
    origins = tuple(part.strip() for part in variables.get(name, "").split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            hint = "write scheme, host and port as a browser does, such as `https://app.example.com`, commas between"
            raise SettingsError(f"`{name}` names `{origin}`, which is no origin", (name,), hint=hint)
    return origins
